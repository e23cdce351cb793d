"""Controls change what they name, write who did it, and refuse nonsense without changing anything."""

from __future__ import annotations

import pytest

from scheduler.job_type import ParamsInvalid
from scheduler.jobs.controls import change_control, change_gpu
from scheduler.models import ClusterEvent, Control, Gpu


def test_a_rate_that_is_a_presets_is_shown_as_the_preset(control):
    assert change_control(actor="ada", rate_per_minute=25).preset == "high"
    assert change_control(actor="ada", rate_per_minute=26).preset == ""


def test_a_change_writes_who_before_and_after(control):
    change_control(actor="ada", preset="maximum")

    event = ClusterEvent.objects.get()
    assert (event.actor, event.message) == ("ada", "Load set to MAXIMUM, 50 jobs / min, by ada")
    assert (event.before["rate_per_minute"], event.after["rate_per_minute"]) == (12, 50)


def test_no_change_writes_nothing(control):
    change_control(actor="ada", rate_per_minute=12, paused=False)

    assert not ClusterEvent.objects.exists()


@pytest.mark.parametrize("rate", [0, -1, 0.05, 100_001, float("nan"), float("inf")])
def test_an_absurd_rate_is_refused_with_its_range(control, rate):
    with pytest.raises(ParamsInvalid, match=r"rate_per_minute: .* from 0.1 to 100000"):
        change_control(actor="ada", rate_per_minute=rate, paused=True)

    control = Control.objects.get()
    assert (control.rate_per_minute, control.paused) == (12, False)


def test_an_unknown_preset_is_refused_with_the_known_ones(control):
    with pytest.raises(ParamsInvalid, match="light, normal, high, extreme, maximum"):
        change_control(actor="ada", preset="ludicrous")


def test_a_gpus_failure_rate_is_a_share(gpus):
    with pytest.raises(ParamsInvalid, match=r"failure_rate: 1\.5 is not a share from 0 to 1"):
        change_gpu(0, actor="ada", failure_rate=1.5)

    assert change_gpu(0, actor="ada", failure_rate=0.5, drained=True).drained
    assert Gpu.objects.get(index=0).failure_rate == 0.5
    assert ClusterEvent.objects.get().message == "GPU 0: failure_rate 0.5, drained True, by ada"
