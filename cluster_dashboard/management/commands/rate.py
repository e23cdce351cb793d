"""`gpuc rate`: how many jobs arrive, and whether they do."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from cluster_dashboard.console.arguments import Suggested
from cluster_dashboard.console.command import ConsoleCommand, actor
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.controls import change_control
from scheduler.models import Control
from scheduler.rules.presets import PRESETS, RATE_MAXIMUM, RATE_MINIMUM, Preset

PAUSE_WORDS = {"pause": True, "resume": False}


class Command(ConsoleCommand):
    help = "Shows the rate of generated jobs, or changes it: jobs a minute, a preset, pause or resume."
    examples = """\
  gpuc rate            what it is now
  gpuc rate 30         30 jobs a minute
  gpuc rate high       a preset
  gpuc rate pause      no new jobs; what waits and runs goes on
  gpuc rate resume     as before the pause"""
    option_names = {"rate_per_minute": "RATE"}

    def epilog(self) -> str:
        presets = "\n".join(f"  {name:<10} {each.rate_per_minute:g} jobs a minute" for name, each in PRESETS.items())
        return f"presets:\n{presets}\n\n{super().epilog()}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        accepted = f"{RATE_MINIMUM} to {RATE_MAXIMUM:.0f} jobs a minute, a preset, pause or resume"
        parser.add_argument("rate", metavar="RATE", nargs="?", type=Suggested((*Preset, *PAUSE_WORDS)), help=accepted)
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        before = Control.objects.get()
        wanted = options["rate"]
        control = before if wanted is None else change_control(actor=actor(), **change_of(wanted))
        if options["json"]:
            self.say_json(shown(control))
        elif wanted is None or shown(control) != shown(before):
            self.say(sentence(control))
        else:
            self.say(f"{sentence(control)} (as before)")
        return 0


def change_of(text: str) -> dict[str, Any]:
    """The change that the word or number asks for."""
    word = text.lower()
    if word in PAUSE_WORDS:
        return {"paused": PAUSE_WORDS[word]}
    if word in set(Preset):
        return {"preset": word}
    try:
        return {"rate_per_minute": float(text)}
    except ValueError:
        words = ", ".join((*Preset, *PAUSE_WORDS))
        raise ParamsInvalid(
            "rate_per_minute",
            f"{text!r} is not one of {words}, nor jobs a minute from {RATE_MINIMUM} to {RATE_MAXIMUM:.0f}",
        ) from None


def shown(control: Control) -> dict[str, Any]:
    return {"rate_per_minute": control.rate_per_minute, "preset": control.preset, "paused": control.paused}


def sentence(control: Control) -> str:
    preset = f" ({control.preset})" if control.preset else ""
    paused = ", paused: none arrive before `gpuc rate resume`" if control.paused else ""
    return f"{control.rate_per_minute:g} jobs a minute{preset}{paused}"
