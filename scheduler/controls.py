"""The switches that people turn: rate, preset, pause, GPUs. Each change writes who, before and after."""

from __future__ import annotations

import math
from typing import Any, Final

from django.db import transaction

from scheduler.job_type import ParamsInvalid
from scheduler.models import ClusterEvent, Control, Gpu
from scheduler.states import PRESETS, RATE_MAXIMUM, RATE_MINIMUM, Preset


def check_rate(value: float) -> float:
    """Jobs a minute, or ParamsInvalid with the range: no zero, negative, nan or infinite rate."""
    if not math.isfinite(value) or not RATE_MINIMUM <= value <= RATE_MAXIMUM:
        raise ParamsInvalid(
            "rate_per_minute", f"{value} is not a number of jobs a minute from {RATE_MINIMUM} to {RATE_MAXIMUM:.0f}"
        )
    return value


def check_preset(value: str) -> Preset:
    try:
        return Preset(value)
    except ValueError:
        raise ParamsInvalid("preset", f"{value!r} is not one of {', '.join(Preset)}") from None


def preset_of(rate_per_minute: float) -> str:
    """The preset with exactly this rate, or an empty string."""
    return next((preset.value for preset, it in PRESETS.items() if it.rate_per_minute == rate_per_minute), "")


def change_control(
    *,
    actor: str,
    rate_per_minute: float | None = None,
    preset: str | None = None,
    paused: bool | None = None,
) -> Control:
    """Changes what is given; a preset sets the rate. Raises ParamsInvalid and changes nothing if a value is wrong."""
    if preset is not None and rate_per_minute is not None:
        raise ParamsInvalid("preset", "give a preset or rate_per_minute, not both")
    if preset is not None:
        rate_per_minute = PRESETS[check_preset(preset)].rate_per_minute
    with transaction.atomic():
        control = Control.objects.select_for_update().get()
        before = _shown(control)
        if rate_per_minute is not None:
            control.rate_per_minute = check_rate(rate_per_minute)
            control.preset = preset_of(rate_per_minute)
        if paused is not None:
            control.paused = paused
        after = _shown(control)
        if after == before:
            return control
        # The next arrival is drawn anew, so that the change acts within a second, from 0.1 a minute too.
        control.next_arrival_at = None
        control.save(update_fields=["rate_per_minute", "preset", "paused", "next_arrival_at"])
        ClusterEvent.objects.create(
            kind="control", actor=actor, message=f"{_sentence(before, after)}, by {actor}", before=before, after=after
        )
    return control


#: What may be changed on a GPU.
GPU_SWITCHES: Final = ("failure_rate", "drained")


def change_gpu(index: int, *, actor: str, failure_rate: float | None = None, drained: bool | None = None) -> Gpu:
    """Gpu.DoesNotExist if unknown; ParamsInvalid if the rate is not a share from 0 to 1."""
    if failure_rate is not None and not (math.isfinite(failure_rate) and 0 <= failure_rate <= 1):
        raise ParamsInvalid("failure_rate", f"{failure_rate} is not a share from 0 to 1")
    with transaction.atomic():
        gpu = Gpu.objects.select_for_update().get(index=index)
        before = {name: getattr(gpu, name) for name in GPU_SWITCHES}
        gpu.failure_rate = gpu.failure_rate if failure_rate is None else failure_rate
        gpu.drained = gpu.drained if drained is None else drained
        after = {name: getattr(gpu, name) for name in GPU_SWITCHES}
        if after != before:
            gpu.save(update_fields=list(GPU_SWITCHES))
            changed = ", ".join(f"{name} {after[name]}" for name in GPU_SWITCHES if after[name] != before[name])
            ClusterEvent.objects.create(
                kind="gpu",
                actor=actor,
                gpu=index,
                message=f"GPU {index}: {changed}, by {actor}",
                before=before,
                after=after,
            )
    return gpu


def _shown(control: Control) -> dict[str, Any]:
    return {"rate_per_minute": control.rate_per_minute, "preset": control.preset, "paused": control.paused}


def _sentence(before: dict[str, Any], after: dict[str, Any]) -> str:
    if after["paused"] != before["paused"]:
        return "Arrivals paused" if after["paused"] else "Arrivals resumed"
    rate = f"{after['rate_per_minute']:g} jobs / min"
    return f"Load set to {PRESETS[Preset(after['preset'])].label}, {rate}" if after["preset"] else f"Load set to {rate}"
