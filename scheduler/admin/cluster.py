"""GPUs, control and cluster events in the admin. Every change here writes an audit event."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from scheduler.admin.lists import NOTHING, GpuFilter, ListAdmin, ReadOnlyAdmin, moment, pretty
from scheduler.jobs.controls import CONTROL_SWITCHES, GPU_SWITCHES, change_control, change_gpu
from scheduler.models import Checkpoint, ClusterEvent, Control, Gpu
from scheduler.rules.faults import FaultProfile
from scheduler.rules.presets import RATE_MAXIMUM, RATE_MINIMUM

BOOTED, HAPPENED = moment("booted_at", "booted (UTC)"), moment("at", "at (UTC)")
BEFORE, AFTER = pretty("before", "before"), pretty("after", "after")


# Hidden initial values distinguish a change on the page from a change that somebody else made meanwhile.


class GpuForm(forms.ModelForm):  # type: ignore[type-arg]
    failure_rate = forms.FloatField(
        min_value=0,
        max_value=1,
        help_text="0 to 1: the probability that a random fault hits an attempt of a generated job on this GPU",
        show_hidden_initial=True,
    )
    drained = forms.BooleanField(
        required=False, help_text="Starts no new job; a running job continues", show_hidden_initial=True
    )

    class Meta:
        model = Gpu
        fields: ClassVar = GPU_SWITCHES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            # In the list only the column heading names a field, which a screen reader does not read for each row.
            field.widget.attrs["aria-label"] = f"{name.replace('_', ' ').capitalize()} of GPU {self.instance.index}"


@admin.register(Gpu)
class GpuAdmin(ListAdmin):
    form = GpuForm
    list_display = (
        "index", "host", "backend", "name", "memory_total_mib", "failure_rate", "drained", "quarantined", BOOTED,
    )  # fmt: skip
    list_editable = GPU_SWITCHES
    sortable_by = ("index",)
    readonly_fields = (
        "index", "host", "backend", "name", "uuid", "cuda_uuid", "memory_total_mib", "power_limit_w", "quarantined",
        "boot", BOOTED,
    )  # fmt: skip
    fields = (*GPU_SWITCHES, *readonly_fields)

    def get_changelist_form(self, request: HttpRequest, **kwargs: Any) -> Any:
        return super().get_changelist_form(request, **{**kwargs, "form": GpuForm})

    def save_model(self, request: HttpRequest, obj: Gpu, form: Any, change: bool) -> None:
        change_gpu(obj.index, actor=request.user.get_username(), **_changed(form, GPU_SWITCHES))


class ControlForm(forms.ModelForm):  # type: ignore[type-arg]
    rate_per_minute = forms.FloatField(
        min_value=RATE_MINIMUM,
        max_value=RATE_MAXIMUM,
        help_text=f"Jobs a minute: {RATE_MINIMUM} to {RATE_MAXIMUM:.0f}",
        show_hidden_initial=True,
    )
    paused = forms.BooleanField(required=False, help_text="The generator submits no jobs", show_hidden_initial=True)
    fault_profile = forms.ChoiceField(
        choices=[(profile.value, profile.value) for profile in FaultProfile], show_hidden_initial=True
    )

    class Meta:
        model = Control
        fields: ClassVar = CONTROL_SWITCHES


@admin.register(Control)
class ControlAdmin(ListAdmin):
    """There is one row, so the list redirects to it."""

    form = ControlForm
    readonly_fields = ("preset", "seed", "arrivals")
    fields = (*CONTROL_SWITCHES, *readonly_fields)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if self.has_view_or_change_permission(request) and Control.objects.exists():
            return redirect("admin:scheduler_control_change", 1)
        return super().changelist_view(request, extra_context)

    def save_model(self, request: HttpRequest, obj: Control, form: Any, change: bool) -> None:
        change_control(actor=request.user.get_username(), **_changed(form, CONTROL_SWITCHES))


def _changed(form: Any, switches: tuple[str, ...]) -> dict[str, Any]:
    """The values that were changed on this page."""
    return {name: form.cleaned_data[name] for name in switches if name in form.changed_data}


class ByPeople(admin.SimpleListFilter):
    """Changes by people, which are the audit log, or events of the cluster."""

    title = "actor"
    parameter_name = "who"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("people", "People (audit log)"), ("cluster", "The cluster")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ClusterEvent]) -> QuerySet[ClusterEvent]:
        match self.value():
            case "people":
                return queryset.exclude(actor="")
            case "cluster":
                return queryset.filter(actor="")
            case _:
                return queryset


@admin.display(description="change")
def change(event: ClusterEvent) -> str:
    """The changed values: "drained: False → True"."""
    before, after = event.before or {}, event.after or {}
    changed = [name for name in after if name in before and before[name] != after[name]]
    shown = [f"{name}: {before[name]} \N{RIGHTWARDS ARROW} {after[name]}" for name in changed[:3]]
    return "; ".join([*shown, *([f"and {len(changed) - 3} more"] if len(changed) > 3 else [])]) or NOTHING


@admin.register(ClusterEvent)
class ClusterEventAdmin(ReadOnlyAdmin):
    list_display = (HAPPENED, "kind", "gpu", "actor", "message", change)
    list_display_links = (HAPPENED,)
    list_filter = (ByPeople, GpuFilter)
    sortable_by = ()
    ordering = ("-id",)
    search_fields = ("kind", "actor")
    search_help_text = "A kind, such as worker_died, or the name of an actor; exact matches only."
    fields = (HAPPENED, "kind", "gpu", "actor", "message", BEFORE, AFTER)
    readonly_fields = (HAPPENED, BEFORE, AFTER)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ClusterEvent], search_term: str
    ) -> tuple[QuerySet[ClusterEvent], bool]:
        term = search_term.strip()
        if "\0" in term:
            return queryset.none(), False
        return (queryset.filter(Q(kind=term) | Q(actor=term)) if term else queryset), False


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    """What retention removed, by day."""

    list_display = ("day", "older_than", "succeeded", "failed", "cancelled", "events", "starts", "job")
    sortable_by = ()
    ordering = ("-day",)
