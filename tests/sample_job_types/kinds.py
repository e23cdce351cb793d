"""A type with a parameter of each kind that the form knows, as a dataclass."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from scheduler.job_type import SimpleJobType


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass
class KindsParams:
    share: Annotated[float, Field(gt=0, le=1, description="A share")] = 0.5
    steps: Annotated[int | None, Field(ge=2)] = None
    colour: Colour = Colour.GREEN
    loud: bool = False
    title: str = "as it comes"
    layers: list[int] = field(default_factory=lambda: [1, 2])


class Kinds(SimpleJobType):
    name, summary, Params = "kinds", "One parameter of each kind", KindsParams

    def run(self, params, context):
        return {"title": params.title}
