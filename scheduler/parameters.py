"""Parameters on their way from a submission, through the job's row, to the worker: parsed, dumped, parsed again.

Both parses give the same values: `dump` refuses what would arrive changed, and `refusal` a type that never can work.
A submission may use field names or aliases; the row has field names.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAliasType, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json

_SECRETS: Final = (SecretStr, SecretBytes, Secret)


class NotCarried(ValueError):
    """These values would not arrive at the worker as they are. `field`: its name; empty if it is not known."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.message = field, message


# --- values


def parse[M: BaseModel](model: type[M], values: Mapping[str, Any]) -> M:
    """Of a submission. ValidationError if they are wrong."""
    # As JSON, like the second parse: it reads texts as dates, lists as sets, also where the type is strict.
    return model.model_validate_json(_json(values), by_alias=True, by_name=True)


def parse_dumped[M: BaseModel](model: type[M], values: Mapping[str, Any]) -> M:
    """What `dump` returned for the same model."""
    return model.model_validate_json(_json(values), by_alias=False, by_name=True)


def dump(values: BaseModel) -> dict[str, Any]:
    """JSON that every database stores, from which `parse_dumped` makes the same values. NotCarried if there is none."""
    try:
        found: dict[str, Any] = _finite(values.model_dump(mode="json", by_alias=False, round_trip=True, warnings=False))
        arrived = parse_dumped(type(values), found)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise NotCarried(field, f"is refused after the way to the worker: {first['msg']}") from None
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise NotCarried("", f"cannot be sent to the worker as JSON: {error}") from None
    for name in type(values).model_fields:
        sent, received = getattr(values, name), getattr(arrived, name)
        is_default = name not in values.model_fields_set
        if not (_is_same(sent, received) or (is_default and _is_like(sent, received))):
            raise NotCarried(name, f"would arrive at the worker as {received!r}, not as {sent!r}"[:300])
    return found


def schema(model: type[BaseModel], **options: Any) -> dict[str, Any]:
    """JSON schema of a submission's parameters, with the names of the fields."""
    return model.model_json_schema(by_alias=False, **options)


def _json(values: Mapping[str, Any]) -> bytes:
    return to_json(dict(values), inf_nan_mode="constants")


def _finite(value: Any) -> Any:
    """NaN and infinity as texts, which a float is read from: no database stores them in JSON."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list():
            return [_finite(each) for each in value]
        case _:
            return value


def _is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    match one:
        case BaseModel():
            return _is_same(vars(one), vars(other)) and _is_same(one.__pydantic_extra__, other.__pydantic_extra__)
        case dict():
            return one.keys() == other.keys() and all(_is_same(each, other[key]) for key, each in one.items())
        case list() | tuple() | deque():
            return len(one) == len(other) and all(map(_is_same, one, other))
    if dataclasses.is_dataclass(one) or "__eq__" not in _members(type(one)):
        return hasattr(one, "__dict__") and _is_same(vars(one), vars(other))
    # NaN is not equal to itself.
    return bool(one == other) or bool(one != one and other != other)  # noqa: PLR0124


def _is_like(default: Any, received: Any) -> bool:
    """Defaults are not validated before they arrive: 1 for a float, a list for a tuple."""
    some = (list, tuple, set, frozenset, deque)
    if isinstance(default, some) and isinstance(received, some):
        return list(default) == list(received)
    return bool(default == received)


def _members(kind: type) -> set[str]:
    """Of a class and what it inherits from, but for `object`."""
    return {name for each in kind.__mro__[:-1] for name in vars(each)}


# --- types


def refusal(model: type[BaseModel]) -> str | None:
    """Why parameters of this type can never reach a worker, or must not; None if they can."""
    for path, annotation, field in _fields(model, "", set()):
        if isinstance(annotation, type) and issubclass(annotation, _SECRETS):
            return (
                f"{path} is a {annotation.__name__}: parameters are stored and shown as they are. "
                "Have run() read secrets from the worker's environment or from a file"
            )
        if field is not None and field.exclude:
            return f"{path} has exclude=True, so it would not be sent to the worker"
    if (twice := _ambiguous(model)) is not None:
        return f"{twice!r} is the name of one field and an alias of another"
    return _default_refusal(model)


def _default_refusal(model: type[BaseModel]) -> str | None:
    try:
        dump(parse(model, {}))
    except ValidationError as error:
        wrong = [each for each in error.errors() if each["type"] != "missing"]
        given = {str(each["loc"][0]) for each in wrong if each["loc"]}
        return f"the default of {given.pop()} is refused: {wrong[0]['msg']}" if given else None
    except NotCarried as error:
        return f"the default of {error.field} {error.message}" if error.field else f"a default {error.message}"
    return None


def _ambiguous(model: type[BaseModel]) -> str | None:
    for name, field in model.model_fields.items():
        aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else []
        for alias in (field.alias, field.validation_alias, *aliases):
            if isinstance(alias, str) and alias != name and alias in model.model_fields:
                return alias
    return None


def _fields(kind: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any, FieldInfo | None]]:
    """Each annotation inside a type, with its path and the field that it is of."""
    if id(kind) in seen:
        return
    seen.add(id(kind))
    if isinstance(kind, TypeAliasType):
        yield from _described(kind.__value__, path, None, seen)
    for each in (get_origin(kind), *get_args(kind)):
        if each is not None and not isinstance(each, str | int | bytes):
            yield from _described(each, path, None, seen)
    if not isinstance(kind, type):
        return
    before = f"{path}." if path else ""
    if issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from _described(field.annotation, f"{before}{name}", field, seen)
    elif dataclasses.is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields"):
        for name, annotation in get_type_hints(kind, include_extras=True).items():
            declared = getattr(kind, "__pydantic_fields__", {}).get(name)
            yield from _described(annotation, f"{before}{name}", declared, seen)


def _described(
    annotation: Any, path: str, field: FieldInfo | None, seen: set[int]
) -> Iterator[tuple[str, Any, FieldInfo | None]]:
    yield path, annotation, field
    yield from _fields(annotation, path, seen)
