"""API tokens in the admin: created, shown once, revoked."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from cluster_dashboard.models import ApiToken
from cluster_dashboard.tokens import ISSUED_NAME_PATTERN, Scope, create_token, revoke_token
from cluster_dashboard.web.sign_in import LimitedAdminForm
from scheduler.admin.lists import ListAdmin, moment
from scheduler.job_type import ParamsInvalid

admin.site.login_form = LimitedAdminForm

CREATED, USED, REVOKED = (
    moment("created_at", "created (UTC)"),
    moment("last_used_at", "last used (UTC)"),
    moment("revoked_at", "revoked (UTC)"),
)


class TokenForm(forms.Form):
    name = forms.RegexField(
        f"^{ISSUED_NAME_PATTERN}$",
        help_text="The user or program of this token",
        error_messages={"invalid": "Expects 1 to 60 letters, digits, dots, underscores and hyphens."},
    )
    scopes = forms.MultipleChoiceField(
        choices=[
            (Scope.READ, "read"),
            (Scope.SUBMIT, "submit: submit and cancel jobs"),
            (Scope.CONTROL, "control: rate, pause, faults, GPUs"),
        ],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.READ],
        help_text="Every token may read.",
    )


@admin.register(ApiToken)
class ApiTokenAdmin(ListAdmin):
    list_display = ("name", "prefix", "scope_words", "created_by", CREATED, USED, REVOKED)
    sortable_by = ()
    ordering = ("-id",)
    actions = ("revoke",)
    fields = ("name", "prefix", "scope_words", "created_by", CREATED, USED, REVOKED)
    readonly_fields = fields

    @admin.display(description="scopes")
    def scope_words(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Not ListAdmin's, which refuses it.
        return admin.ModelAdmin.has_add_permission(self, request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A separate form: the secret is shown in the response and stored nowhere, not even in a message."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST or None)
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Add API token", "form": form}
        if form.is_valid():
            try:
                context["token"], context["secret"] = create_token(
                    form.cleaned_data["name"], form.cleaned_data["scopes"], actor=request.user.get_username()
                )
            except ParamsInvalid as error:
                form.add_error("name", error.message)
        return TemplateResponse(request, "admin/cluster_dashboard/apitoken/add.html", context)

    @admin.action(description="Revoke selected tokens: they are refused from now on", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> HttpResponse:
        actor = request.user.get_username()
        names = queryset.filter(revoked_at__isnull=True).values_list("name", flat=True)
        revoked = [name for name in list(names) if revoke_token(name, actor=actor)]
        names_shown = ", ".join(revoked) or "none; all were revoked before"
        self.message_user(request, f"Revoked: {names_shown}.", messages.SUCCESS)
        return redirect(request.get_full_path())
