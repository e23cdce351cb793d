"""A simulated GPU. Its readings follow the job that runs on it; random numbers only add noise."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from random import Random
from typing import Final

from gpu_tasks.gpus.heat import HeatFile
from scheduler.rules.gpu import GpuHealth, GpuIdentity, GpuLoad, GpuSample

#: An NVIDIA H100 SXM: memory as nvidia-smi shows it, idle power and power limit.
NAME: Final = "NVIDIA H100 80GB HBM3 (simulated)"
MEMORY_TOTAL_MIB: Final = 81_559
POWER_IDLE_W: Final = 95.0
POWER_LIMIT_W: Final = 700.0
#: Maximum operating temperature, as in NVIDIA's brief of the H100 PCIe; one for the SXM is not published.
MAXIMUM_OPERATING_C: Final = 87.0
#: Clock of its multiprocessors without work, and its highest.
SM_CLOCK_IDLE_MHZ: Final = 345.0
SM_CLOCK_MAX_MHZ: Final = 1980.0
#: Memory of the driver and a context, besides the job's own. An assumption for demonstrations.
MEMORY_BASE_MIB: Final = 520

#: Steady temperature = 28.2 + 0.061 x power, through the two published readings of an H100: 34 C at 95 W and
#: 71 C at 700 W. (A fleet of A100s fits 24.7 + 0.088 x power: AcmeTrace, August 2023.)
TEMPERATURE_AT_ZERO_W: Final = 28.2
DEGREES_PER_W: Final = 0.061
#: Weight and time constant in seconds of each exponential of the approach to it: the die, then the cooler.
#: An assumption: no measured time constants are published.
THERMAL_PARTS: Final = ((0.6, 12.0), (0.4, 90.0))
#: The GPUs of one machine differ by their place in the air flow. An assumption.
SPREAD_C: Final = 2.0


class SimulatedGpu:
    """One GPU. The same seed, index, heat and sequence of calls produce the same readings."""

    def __init__(
        self, *, index: int, seed: int, memory_total_mib: int | None = None, heat: HeatFile | None = None
    ) -> None:
        """memory_total_mib: None for the memory of an H100. heat: None for a GPU that begins cold each time."""
        self._index = index
        self._memory_total_mib = memory_total_mib or MEMORY_TOTAL_MIB
        self._name = NAME if memory_total_mib is None else f"Simulated GPU {round(memory_total_mib / 1024)}GB"
        self._rng = Random(f"gpu:{seed}:{index}")
        self._place_c = self._rng.uniform(-SPREAD_C, SPREAD_C)
        self._heat = heat
        self._parts_c = self._parts_at_start()
        self._sampled_at_seconds: float | None = None

    def identity(self) -> GpuIdentity:
        return GpuIdentity(
            index=self._index,
            uuid=f"SIM-00000000-0000-0000-0000-{self._index:012d}",
            name=self._name,
            memory_total_mib=self._memory_total_mib,
            power_limit_w=POWER_LIMIT_W,
        )

    def sample(self, load: GpuLoad | None, now_seconds: float) -> GpuSample:
        share = self._share(load)
        power_w = self._power_w(share)
        self._warm(power_w, now_seconds)
        if self._heat is not None:
            self._heat.write(self._parts_c, now_seconds)
        return GpuSample(
            health=GpuHealth.HEALTHY,
            utilization_percent=float(round(share * 100)),
            memory_used_mib=self._memory_used_mib(load),
            memory_total_mib=self._memory_total_mib,
            temperature_c=float(round(sum(w * c for (w, _), c in zip(THERMAL_PARTS, self._parts_c, strict=True)))),
            temperature_limit_c=MAXIMUM_OPERATING_C,
            power_w=round(power_w, 1),
            sm_clock_mhz=SM_CLOCK_MAX_MHZ if share > 0 else SM_CLOCK_IDLE_MHZ,
            last_xid=0,
        )

    def _share(self, load: GpuLoad | None) -> float:
        """Share of the compute in use, 0.0 to 1.0: that of the job with a noise of 2 %; 0 without a job."""
        noise = self._rng.gauss(0.0, 0.02)
        return 0.0 if load is None or load.compute_share <= 0 else _within(load.compute_share + noise, 0.0, 1.0)

    def _power_w(self, share: float) -> float:
        noise = self._rng.gauss(0.0, 0.01)
        return _within((POWER_IDLE_W + share * (POWER_LIMIT_W - POWER_IDLE_W)) * (1 + noise), 0.0, POWER_LIMIT_W)

    def _memory_used_mib(self, load: GpuLoad | None) -> int:
        if load is None:
            return 0
        return min(MEMORY_BASE_MIB + load.memory_mib, self._memory_total_mib)

    def _warm(self, power_w: float, now_seconds: float) -> None:
        """Moves each part towards the steady temperature, for the time since the last sample."""
        previous, self._sampled_at_seconds = self._sampled_at_seconds, now_seconds
        passed = 0.0 if previous is None else max(0.0, now_seconds - previous)
        self._parts_c = approached(self._parts_c, self._steady_c(power_w), passed)

    def _parts_at_start(self) -> list[float]:
        """As warm as the process before left it, less what it has cooled without a job since then."""
        idle_c = self._steady_c(POWER_IDLE_W)
        found = self._heat.read(len(THERMAL_PARTS)) if self._heat is not None else None
        return [idle_c] * len(THERMAL_PARTS) if found is None else approached(found[0], idle_c, found[1])

    def _steady_c(self, power_w: float) -> float:
        return TEMPERATURE_AT_ZERO_W + DEGREES_PER_W * power_w + self._place_c


def approached(parts_c: Sequence[float], steady_c: float, passed_seconds: float) -> list[float]:
    """The temperatures of the parts after this time on their way to the steady one, each with its time constant."""
    return [
        steady_c + (part_c - steady_c) * exp(-passed_seconds / tau)
        for (_, tau), part_c in zip(THERMAL_PARTS, parts_c, strict=True)
    ]


def _within(value: float, lowest: float, highest: float) -> float:
    return min(max(value, lowest), highest)
