"""Parameters arrive at the worker as they were accepted; a type or value of which this is not so is refused."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypedDict
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
)
from pydantic.dataclasses import dataclass as pydantic_dataclass

from scheduler.catalogue import JobTypeInvalid, completed
from scheduler.job_type import (
    JobContext,
    JobType,
    ParamsInvalid,
    SimpleJobType,
    parse_params,
    parse_stored_params,
    stored_params,
)


def made(params: type) -> JobType[Any]:
    """A job type with these parameters, as the catalogue would hold it; `run` returns what it got."""

    class Own(SimpleJobType):
        name: ClassVar[str] = "own"
        summary: ClassVar[str] = "Has parameters of a test"
        Params = params

        def run(self, params: Any, context: JobContext) -> dict[str, Any]:
            return {"got": params}

    return completed(Own(), "here")


class Colour(Enum):
    RED = 1
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    A = "a"
    B = "b"


class Point(NamedTuple):
    x: int
    y: float


class Sizes(TypedDict, total=False):
    width: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(default=9, alias="numberOfLives")


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    born: date = date(2020, 1, 1)


@dataclass
class Corner:
    at: Point
    weight: float = 1.0


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    days: tuple[date, ...] = ()
    tags: frozenset[str] = frozenset()


type Money = Annotated[Decimal, Field(allow_inf_nan=False)]


class Everything(BaseModel):
    whole: int = Field(default=1, alias="theWhole")
    share: float = Field(default=math.nan, allow_inf_nan=True)
    word: Word = Field(default=Word.A, validation_alias=AliasChoices("w", "wd"))
    colour: Colour = Field(default=Colour.RED, validation_alias=AliasPath("paint", "colour"))
    level: Level = Field(default=Level.LOW, serialization_alias="lvl")
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    clock: time = time(12)
    wait: timedelta = timedelta(seconds=1)
    price: Money = Decimal("1.50")
    raw: bytes = b""
    coded: Base64Bytes = b""
    key: UUID = UUID(int=0)
    file: Path = Path("a/b")
    address: IPv4Address = IPv4Address("127.0.0.1")
    names: set[str] = set()
    frozen: frozenset[int] = frozenset()
    pair: tuple[int, str] = (1, "a")
    many: tuple[float, ...] = ()
    queue: deque[int] = deque()
    by_number: dict[int, list[bool]] = {}
    point: Point = Point(1, 2.0)
    sizes: Sizes = {}
    corner: Corner = Corner(Point(0, 0.0))
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    strict: Strict = Strict()
    maybe: int | None = None
    number_or_text: int | str = 1

    @computed_field
    def double(self) -> int:
        return 2 * self.whole


def storable() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)


#: By field name, as Python values of the declared types.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(),
    "share": st.floats(),
    "word": st.sampled_from(Word),
    "colour": st.sampled_from(Colour),
    "level": st.sampled_from(Level),
    "at": st.datetimes(timezones=st.just(UTC)) | st.datetimes(),
    "day": st.dates(),
    "clock": st.times(),
    "wait": st.timedeltas(min_value=timedelta(days=-1000), max_value=timedelta(days=1000)),
    "price": st.decimals(allow_nan=False, allow_infinity=False),
    "raw": st.binary(max_size=5),
    "key": st.uuids(),
    "file": storable().filter(bool).map(Path),
    "address": st.ip_addresses(v=4),
    "names": st.sets(storable()),
    "frozen": st.frozensets(st.integers()),
    "pair": st.tuples(st.integers(), storable()),
    "many": st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
    "queue": st.lists(st.integers()).map(deque),
    "by_number": st.dictionaries(st.integers(), st.lists(st.booleans())),
    "point": st.builds(Point, st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    "sizes": st.fixed_dictionaries({}, optional={"width": st.integers()}),
    "corner": st.builds(Corner, st.builds(Point, st.integers(), st.just(1.5)), st.floats(0, 1)),
    "pet": st.builds(Dog, born=st.dates()) | st.builds(Cat, numberOfLives=st.integers()),
    "strict": st.builds(Strict, days=st.lists(st.dates()).map(tuple), tags=st.frozensets(storable())),
    "maybe": st.none() | st.integers(),
    "number_or_text": st.integers() | storable(),
}


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({}, optional=VALUES))
def test_what_is_accepted_arrives_unchanged(given_values: dict[str, Any]) -> None:
    job_type = made(Everything)
    values = job_type.Params.model_validate(given_values, by_name=True)

    try:
        stored = stored_params(values)
    except ParamsInvalid as error:
        assert "worker" in error.message  # noqa: PT017 (refused at submission, with a word: bytes that are no text)
        assert any(byte > 127 for byte in values.raw)
        return

    row = json.loads(json.dumps(stored, allow_nan=False))
    # "Run again" submits what the row holds.
    for arrived in (parse_stored_params(job_type, row), parse_params(job_type, row)):
        for name in Everything.model_fields:
            sent, got = getattr(values, name), getattr(arrived, name)
            assert type(sent) is type(got)
            assert sent == got or (math.isnan(sent) and math.isnan(got))


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"theWhole": 5}, "whole", 5),
        ({"whole": 5}, "whole", 5),
        ({"wd": "b"}, "word", Word.B),
        ({"paint": {"colour": "green"}}, "colour", Colour.GREEN),
        ({"pet": {"kind": "cat", "numberOfLives": 3}}, "pet", Cat(numberOfLives=3)),
        ({"pet": {"kind": "cat", "lives": 3}}, "pet", Cat(numberOfLives=3)),
        ({"share": "Infinity"}, "share", math.inf),
        (
            {"strict": {"days": ["2026-01-01"], "tags": ["a"]}},
            "strict",
            Strict(days=(date(2026, 1, 1),), tags=frozenset({"a"})),
        ),
        ({"whole": 10**30}, "whole", 10**30),
    ],
)
def test_a_submission_may_use_names_or_aliases(values: dict[str, Any], name: str, expected: Any) -> None:
    job_type = made(Everything)

    arrived = parse_stored_params(job_type, stored_params(parse_params(job_type, values)))

    assert getattr(arrived, name) == expected


@dataclass
class Plain:
    at: date = date(2026, 1, 1)
    tags: tuple[str, ...] = ()
    corners: list[Corner] = field(default_factory=list)
    share: float = 1
    words: list[Word] = field(default_factory=lambda: ["a"])  # type: ignore[arg-type, list-item]


@pydantic_dataclass
class Aliased:
    steps: int = Field(default=1, alias="numberOfSteps")


def test_a_dataclass_arrives_with_its_types_defaults_included() -> None:
    job_type = made(Plain)
    stored = stored_params(parse_params(job_type, {"tags": ["x"], "corners": [{"at": [1, 2.5]}]}))

    got = job_type.run(parse_stored_params(job_type, stored), None)["got"]  # type: ignore[arg-type]

    assert got == Plain(date(2026, 1, 1), ("x",), [Corner(Point(1, 2.5))])
    assert (type(got.share), type(got.words[0])) == (float, Word)


@pytest.mark.parametrize("values", [{"steps": 3}, {"numberOfSteps": 3}])
def test_a_pydantic_dataclass_with_an_alias_arrives(values: dict[str, Any]) -> None:
    job_type = made(Aliased)
    stored = stored_params(parse_params(job_type, values))

    got = job_type.run(parse_stored_params(job_type, stored), None)["got"]  # type: ignore[arg-type]

    assert isinstance(got, Aliased)
    assert got.steps == 3


def test_values_that_would_arrive_changed_are_refused_with_the_field() -> None:
    class Doubled(BaseModel):
        size: Annotated[int, AfterValidator(lambda value: 2 * value)] = 0
        rough: Annotated[float, PlainSerializer(lambda value: round(value, 1))] = 0.5

    job_type = made(Doubled)

    with pytest.raises(ParamsInvalid, match=r"params\.size: would arrive at the worker as 12, not as 6"):
        stored_params(parse_params(job_type, {"size": 3}))
    with pytest.raises(ParamsInvalid, match=r"params\.rough: would arrive at the worker as 0\.1, not as 0\.12"):
        stored_params(parse_params(job_type, {"rough": 0.12}))
    assert stored_params(parse_params(job_type, {"rough": 0.1})) == {"size": 0, "rough": 0.1}


# --- types that are refused -------------------------------------------------------------------------


class Nested(BaseModel):
    token: SecretStr = SecretStr("x")


@dataclass
class InDataclass:
    nested: Nested | None = None


type Hidden = list[SecretBytes]


def model(**fields: Any) -> type[BaseModel]:
    return type(
        "Params",
        (BaseModel,),
        {"__annotations__": {name: kind for name, (kind, _) in fields.items()}}
        | {name: default for name, (_, default) in fields.items()},
    )


SECRET = "parameters are stored and shown as they are"


@pytest.mark.parametrize(
    ("params", "told"),
    [
        (model(token=(SecretStr, SecretStr("x"))), f"token is a SecretStr: {SECRET}"),
        (model(token=(SecretStr | None, None)), f"token is a SecretStr: {SECRET}"),
        (model(pin=(Secret[int], Field())), "pin is a Secret"),
        (model(keys=(Hidden, [])), "keys is a SecretBytes"),
        (InDataclass, "nested.token is a SecretStr"),
        (model(by_name=(dict[str, Nested], {})), "by_name.token is a SecretStr"),
        (model(size=(int, Field(default=1, exclude=True))), "size has exclude=True"),
        (model(a=(int, Field(default=1, alias="b")), b=(int, 2)), "'b' is the name of one field and an alias"),
        (model(call=(Callable[[int], int], abs)), "Cannot generate a JsonSchema|cannot be sent to the worker"),
        (model(raw=(bytes, b"\xff")), "a default cannot be sent to the worker as JSON"),
        (model(size=(int, "many")), "the default of size is refused after the way"),
        (model(file=(Path, "a/b")), "the default of file would arrive at the worker as .*, not as 'a/b'"),
        (RootModel[list[int]], "it is a RootModel"),
    ],
)
def test_a_type_whose_parameters_cannot_or_must_not_travel_is_refused_at_the_start(params: type, told: str) -> None:
    with pytest.raises(JobTypeInvalid, match=f"^here: Params cannot be used: .*({told})"):
        made(params)
