"""The job types of this installation: built in, from the settings and from installed packages.

Types from outside are found by path or entry point, checked, and completed.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, cast, get_type_hints

from django.conf import settings
from pydantic import BaseModel, Field, RootModel, TypeAdapter, create_model, model_validator
from pydantic.errors import PydanticUserError

from scheduler import parameters
from scheduler.job_type import Catalogue, JobContext, JobParams, JobType, ParamsInvalid, SimpleJobType
from scheduler.rules.configuration import EnvironmentInvalid

#: Installed packages register their job types in this entry point group.
ENTRY_POINT_GROUP: Final = "gpu_cluster.job_types"

#: The environment variable with the paths of further types.
VARIABLE: Final = "JOB_TYPES_EXTRA"

#: A type's name is used in a column, in task names and in URLs.
NAME_PATTERN: Final = r"[a-z][a-z0-9_]{0,59}"

#: The methods that a type may omit.
COSTS: Final = ("gpu_memory_mib", "load", "duration_seconds")


class JobTypeInvalid(EnvironmentInvalid):
    """The message names where the type was configured, and why it cannot be used."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")


@cache
def catalogue() -> Catalogue:
    """From settings.JOB_TYPES, settings.JOB_TYPES_EXTRA and the entry points of installed packages; loaded once in each
    process."""
    return load_catalogue(settings.JOB_TYPES, settings.JOB_TYPES_EXTRA)


def load_catalogue(built_in: Iterable[str], extra: Iterable[str] = ()) -> Catalogue:
    """The types at the paths ("module:Class"), and those that installed packages register by entry point.

    JobTypeInvalid names the variable or the entry point of a type from outside that cannot be used.
    """
    known: dict[str, str] = {}
    found: list[JobType[Any]] = []
    for source, job_type in _all(built_in, extra):
        if job_type.name in known:
            raise JobTypeInvalid(source, f"its name {job_type.name!r} is already used by {known[job_type.name]}")
        known[job_type.name] = source
        found.append(job_type)
    return Catalogue(found)


def _all(built_in: Iterable[str], extra: Iterable[str]) -> Iterator[tuple[str, JobType[Any]]]:
    for path in built_in:
        source = f"the built-in {path}"
        job_type: JobType[Any] = _class_at(path)()
        _check_params(job_type.Params, source)
        yield source, job_type
    for path in extra:
        source = f"{VARIABLE}: {path!r}"
        yield source, completed(_made(source, lambda path=path: _class_at(path)), source)  # type: ignore[misc]
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        source = _described(point)
        yield source, completed(_made(source, point.load), source)


def _class_at(path: str) -> type[Any]:
    module, _, name = path.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), name)
    return found


def _described(point: EntryPoint) -> str:
    package = f" of package {point.dist.name}" if point.dist else ""
    return f"entry point {point.name!r} ({point.value}) in {ENTRY_POINT_GROUP}{package}"


def _made(source: str, load: Callable[[], type[Any]]) -> Any:
    """Creates an object of the type; an error in its module becomes a message of one line."""
    try:
        found = load()
    except Exception as error:
        raise JobTypeInvalid(source, f"cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, type):
        raise JobTypeInvalid(source, f"is not a class, but {type(found).__name__}")
    try:
        return found()
    except Exception as error:
        raise JobTypeInvalid(source, f"cannot be created: {type(error).__name__}: {error}") from error


# --- completion -----------------------------------------------------------------------------------


def completed(own: Any, source: str) -> JobType[Any]:
    """The type with its parameters as a strict pydantic model, and with default costs where it defines none."""
    name = getattr(own, "name", None)
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise JobTypeInvalid(source, f"name is {name!r}; it must be 1 to 60 of a-z, 0-9 and _, first a letter")
    summary = getattr(own, "summary", None)
    if not isinstance(summary, str) or not summary:
        raise JobTypeInvalid(source, f"summary is {summary!r}; it must be a short text")
    if not callable(getattr(own, "run", None)) or type(own).run is SimpleJobType.run:
        raise JobTypeInvalid(source, "has no method run(self, params, context)")
    if not isinstance(faults := getattr(own, "accepts_random_faults", False), bool):
        raise JobTypeInvalid(source, f"accepts_random_faults is {faults!r}; it must be True or False")
    params = getattr(own, "Params", JobParams)
    try:
        model, native = _model_of(params, f"{name.title().replace('_', '')}Params")
    except (PydanticUserError, NameError, TypeError) as error:
        raise JobTypeInvalid(source, f"Params cannot be used: {str(error).splitlines()[0]}") from error
    _check_params(model, source)
    # A cast: the protocol declares class attributes, and OwnJobType has them on each object.
    return cast(JobType[Any], OwnJobType(own, model, native))


def _check_params(model: type[BaseModel], source: str) -> None:
    try:
        if (why := parameters.refusal(model)) is None:
            # For the form and the API's documentation.
            parameters.schema(model)
    except (PydanticUserError, NameError, TypeError) as error:
        why = str(error).splitlines()[0]
    if why is not None:
        raise JobTypeInvalid(source, f"Params cannot be used: {why}")


def _model_of(params: Any, name: str) -> tuple[type[BaseModel], Callable[[Any], Any]]:
    """A strict model called `name`, and the function that converts its values to what `run` expects.

    The names of the models are distinct, since the API schema lists all of them in one place, and two types may both
    call their class Params.
    """
    if isinstance(params, type) and issubclass(params, RootModel):
        raise TypeError("it is a RootModel; it must have named fields")
    if isinstance(params, type) and issubclass(params, BaseModel):
        space = {"__module__": params.__module__, "__doc__": params.__doc__, "model_config": JobParams.model_config}
        return type(name, (params,), space), lambda values: values
    if isinstance(params, type) and dataclasses.is_dataclass(params):
        return _model_of_dataclass(params, name)
    raise TypeError(f"it is {params!r}; it must be a pydantic model or a dataclass")


def _model_of_dataclass(params: Any, name: str) -> tuple[type[BaseModel], Callable[[Any], Any]]:
    names = [field.name for field in dataclasses.fields(params) if field.init]
    # By their names: the __init__ of a pydantic dataclass may accept the aliases only.
    adapter = TypeAdapter(params) if hasattr(params, "__pydantic_validator__") else None

    def native(values: Any) -> Any:
        given = {name: getattr(values, name) for name in names}
        if adapter is None:
            return params(**given)
        return adapter.validate_python(given, by_alias=False, by_name=True)

    def check(values: Any) -> Any:
        # An error in __post_init__ is reported as a wrong parameter.
        native(values)
        return values

    model = create_model(
        name,
        __base__=JobParams,
        __module__=params.__module__,
        __validators__={"check_as_dataclass": cast(Callable[..., Any], model_validator(mode="after")(check))},
        **_fields(params),
    )
    return model, native


def _fields(params: Any) -> dict[str, Any]:
    """Annotation and default of each field; those of a pydantic dataclass include their limits."""
    declared = getattr(params, "__pydantic_fields__", None)
    if declared is not None:
        return {name: (info.annotation, info) for name, info in declared.items()}
    hints = get_type_hints(params, include_extras=True)
    return {field.name: (hints[field.name], _default(field)) for field in dataclasses.fields(params) if field.init}


def _default(field: dataclasses.Field[Any]) -> Any:
    described = {"description": field.metadata["description"]} if "description" in field.metadata else {}
    if field.default is not dataclasses.MISSING:
        return Field(default=field.default, **described)
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory, **described)
    return Field(**described)


class OwnJobType:
    """A type from outside, completed. Its costs are checked, since they decide where a job may run."""

    def __init__(self, own: Any, model: type[BaseModel], native: Callable[[Any], Any]) -> None:
        self.name: str = own.name
        self.summary: str = own.summary
        self.Params: type[Any] = model
        self.accepts_random_faults: bool = getattr(own, "accepts_random_faults", False)
        self._own, self._native = own, native
        self._costs = {cost: getattr(own, cost, getattr(SimpleJobType(), cost)) for cost in COSTS}

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        result: dict[str, Any] = self._own.run(self._native(params), context)
        return result

    def gpu_memory_mib(self, params: Any) -> int:
        return int(self._cost("gpu_memory_mib", params, maximum=2**31 - 1, accepts="MiB, 0 or more"))

    def load(self, params: Any) -> float:
        return self._cost("load", params, maximum=1.0, accepts="a share from 0.0 to 1.0")

    def duration_seconds(self, params: Any) -> float:
        return self._cost("duration_seconds", params, maximum=math.inf, accepts="seconds, 0 or more")

    def _cost(self, cost: str, params: Any, *, maximum: float, accepts: str) -> float:
        try:
            value = float(self._costs[cost](self._native(params)))
        except Exception as error:
            raise ParamsInvalid("params", f"{self.name}.{cost} failed: {type(error).__name__}: {error}") from error
        if not (math.isfinite(value) and 0 <= value <= maximum):
            raise ParamsInvalid("params", f"{self.name}.{cost} returned {value}; expected {accepts}")
        return value
