"""What operators change: rate, preset, pause, fault profile, GPUs. An event records who, and the values before and
after."""

from __future__ import annotations

import math
from typing import Any, Final

from django.db import transaction

from scheduler.job_type import ParamsInvalid
from scheduler.models import ClusterEvent, Control, Gpu
from scheduler.rules.faults import FaultProfile
from scheduler.rules.presets import PRESETS, RATE_MAXIMUM, RATE_MINIMUM, Preset

#: What may be changed for the whole cluster; a preset is a name for a rate.
CONTROL_SWITCHES: Final = ("rate_per_minute", "paused", "fault_profile")


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


def check_fault_profile(value: str) -> FaultProfile:
    try:
        return FaultProfile(value)
    except ValueError:
        raise ParamsInvalid("fault_profile", f"{value!r} is not one of {', '.join(FaultProfile)}") from None


def preset_of(rate_per_minute: float) -> str:
    """The preset with exactly this rate, or an empty string."""
    return next((preset.value for preset, it in PRESETS.items() if it.rate_per_minute == rate_per_minute), "")


def change_control(
    *,
    actor: str,
    rate_per_minute: float | None = None,
    preset: str | None = None,
    paused: bool | None = None,
    fault_profile: str | None = None,
) -> Control:
    """Changes what is not None; a preset sets the rate. If a value is wrong: ParamsInvalid, and nothing changes."""
    if preset is not None and rate_per_minute is not None:
        raise ParamsInvalid("preset", "set either preset or rate_per_minute, not both")
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
        if fault_profile is not None:
            control.fault_profile = check_fault_profile(fault_profile)
        after = _shown(control)
        if after == before:
            return control
        # The generator's position is left to the generator, which sees a new rate or a pause within a second.
        control.save(update_fields=[*CONTROL_SWITCHES, "preset"])
        ClusterEvent.objects.create(
            kind="control", actor=actor, message=f"{_sentence(before, after)}, by {actor}", before=before, after=after
        )
    return control


#: What may be changed on a GPU.
GPU_SWITCHES: Final = ("failure_rate", "drained")


def change_gpu(
    index: int,
    *,
    actor: str,
    failure_rate: float | None = None,
    drained: bool | None = None,
    quarantined: bool | None = None,
) -> Gpu:
    """quarantined: False releases the GPU, whatever the cluster has quarantined it for.

    Gpu.DoesNotExist if unknown; ParamsInvalid if the rate is not a share from 0 to 1.
    """
    if failure_rate is not None and not (math.isfinite(failure_rate) and 0 <= failure_rate <= 1):
        raise ParamsInvalid("failure_rate", f"{failure_rate} is not a share from 0 to 1")
    with transaction.atomic():
        gpu = Gpu.objects.select_for_update().get(index=index)
        switches = GPU_SWITCHES if quarantined is None else (*GPU_SWITCHES, "quarantined")
        before = {name: getattr(gpu, name) for name in switches}
        gpu.failure_rate = gpu.failure_rate if failure_rate is None else failure_rate
        gpu.drained = gpu.drained if drained is None else drained
        if quarantined is not None and quarantined != bool(gpu.quarantined):
            gpu.quarantined = f"by {actor}"[:120] if quarantined else ""
        after = {name: getattr(gpu, name) for name in switches}
        if after != before:
            gpu.save(update_fields=list(switches))
            changed = ", ".join(_change(name, after[name]) for name in switches if after[name] != before[name])
            ClusterEvent.objects.create(
                kind="gpu",
                actor=actor,
                gpu=index,
                message=f"GPU {index}: {changed}, by {actor}"[:300],
                before=before,
                after=after,
            )
    return gpu


def _change(name: str, value: Any) -> str:
    if name == "quarantined":
        return "quarantined" if value else "released from quarantine"
    return f"{name} {value}"


def _shown(control: Control) -> dict[str, Any]:
    return {name: getattr(control, name) for name in (*CONTROL_SWITCHES, "preset")}


def _sentence(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Every change, such as "Load set to Normal, 12 jobs / min; arrivals resumed"."""
    parts = []
    if any(after[name] != before[name] for name in ("rate_per_minute", "preset")):
        label = f"{PRESETS[Preset(after['preset'])].label}, " if after["preset"] else ""
        parts.append(f"load set to {label}{after['rate_per_minute']:g} jobs / min")
    if after["paused"] != before["paused"]:
        parts.append("arrivals paused" if after["paused"] else "arrivals resumed")
    if after["fault_profile"] != before["fault_profile"]:
        parts.append(f"fault profile set to {after['fault_profile']}")
    sentence = "; ".join(parts)
    return sentence[:1].upper() + sentence[1:]
