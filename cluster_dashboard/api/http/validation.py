"""What was wrong with the input, in words that say what each field accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ninja.errors import ValidationErrorContext
from pydantic import BaseModel, ValidationError

from cluster_dashboard.api.http.problems import FieldError, Problem
from cluster_dashboard.api.schemas import BIGINT_MAXIMUM

#: Characters shown of an unknown field name.
FIELD_LENGTH: Final = 100


def invalid_input(contexts: Sequence[ValidationErrorContext[Any]]) -> Problem:
    """The 422 for everything that ninja found wrong in path, query and body."""
    errors: list[FieldError] = []
    for context in contexts:
        errors += field_errors(context.model, context.pydantic_validation_error)
    return invalid(errors)


def invalid(errors: Sequence[FieldError], *, extra: dict[str, Any] | None = None) -> Problem:
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors[:3])
    return Problem(422, detail, errors=errors, extra=extra)


def field_errors(model: type[BaseModel], error: ValidationError, *, within: str = "") -> list[FieldError]:
    """One for each wrong field of `model`; `within` is put before their names."""
    schema = model.model_json_schema()
    return [_field_error(schema, each, within) for each in error.errors(include_url=False)]


def _field_error(schema: dict[str, Any], error: Any, within: str) -> FieldError:
    parts = [str(part) for part in error["loc"]]
    accepted = [schema]
    for part in parts:
        accepted.append(_property(accepted[-1], part, schema))
    # ninja wraps a body or a query in a model of its own, under the name of the view's argument.
    wrapped = not within and len(parts) > 0 and "properties" in accepted[1]
    path = ".".join([*([within] if within else []), *parts[wrapped:]])
    shown = path if len(path) <= FIELD_LENGTH else f"{path[:FIELD_LENGTH]}…"
    return FieldError(field=shown or "body", message=_message(error, accepted))


def _message(error: Any, accepted: Sequence[dict[str, Any]]) -> str:
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"is unknown; must be one of {', '.join(accepted[-2].get('properties', {}))}"
        case "value_error" | "assertion_error":
            return str(error["msg"]).partition(", ")[2]
        case _:
            return expected(accepted[-1]) or str(error["msg"]).replace("Input should be", "must be")


def expected(schema: dict[str, Any]) -> str:
    """In words, what a JSON schema accepts; empty if no simple words describe it."""
    match schema:
        case {"enum": [*words]}:
            accepted = f"one of {', '.join(map(str, words))}"
        case {"type": "boolean"}:
            accepted = "true or false"
        case {"type": "integer"}:
            accepted = f"a whole number{_range(schema)}"
        case {"type": "number"}:
            accepted = f"a number{_range(schema)}"
        case {"type": "string", "minLength": low, "maxLength": high}:
            accepted = f"text of {low} to {high} characters"
        case {"type": "array", "minItems": low, "maxItems": high}:
            accepted = f"a list of {low} to {high} items"
        case {"type": "object"}:
            accepted = "a JSON object"
        case _:
            accepted = ""
    return accepted and f"must be {accepted}"


def _range(schema: dict[str, Any]) -> str:
    match schema:
        case {"minimum": low, "maximum": high} if high < BIGINT_MAXIMUM:
            return f" from {low:.15g} to {high:.15g}"
        case {"minimum": low}:
            return f", {low:.15g} or more"  # the largest possible id tells a reader nothing
    limits = (("exclusiveMinimum", "above"), ("exclusiveMaximum", "below"), ("maximum", "at most"))
    words = [f"{word} {schema[key]:.15g}" for key, word in limits if key in schema]
    return f" {' and '.join(words)}" if words else ""


def _property(schema: dict[str, Any], name: str, root: dict[str, Any]) -> dict[str, Any]:
    """The schema of a property or item, without the null of an optional one; empty if there is none of that name."""
    described = schema.get("items", {}) if name.isdigit() else schema.get("properties", {}).get(name, {})
    options = [each for each in described.get("anyOf", [described]) if each.get("type") != "null"]
    found: dict[str, Any] = options[0] if len(options) == 1 else {}
    if "$ref" in found:
        found = root["$defs"][found["$ref"].rpartition("/")[2]]
    return found
