"""Job rates of the generator: the named presets, and the range that it accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scheduler.rules.words import Word


class Preset(Word):
    """Named job rates; labels and rates are in PRESETS."""

    LIGHT = "light"
    NORMAL = "normal"
    HIGH = "high"
    EXTREME = "extreme"
    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetRate:
    label: str
    rate_per_minute: float


PRESETS: Final[dict[Preset, PresetRate]] = {
    Preset.LIGHT: PresetRate(label="Light Load", rate_per_minute=2),
    Preset.NORMAL: PresetRate(label="Normal", rate_per_minute=12),
    Preset.HIGH: PresetRate(label="High Load", rate_per_minute=25),
    Preset.EXTREME: PresetRate(label="Extreme", rate_per_minute=40),
    Preset.MAXIMUM: PresetRate(label="MAXIMUM", rate_per_minute=50),
}

#: Jobs a minute that the generator accepts: the slider's lower end, and the ceiling for load tests.
RATE_MINIMUM: Final = 0.1
RATE_MAXIMUM: Final = 100_000.0
