"""Every bound of a field in the OpenAPI document is kept exactly: at it a value is taken, one past it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

import function_app
from functions.http.kit.operations import OPERATIONS

assert function_app.app  # registers the operations


@dataclass(frozen=True, slots=True)
class Probe:
    """A bound of one field: the error that is made by a value past it, and by none at it."""

    error: str
    at: Any
    past: Any

    def inside(self, name: str | None) -> Probe:
        """Return the probe of a list whose element has the bound, or of an object whose member `name` has it."""
        at, past = ([self.at], [self.past]) if name is None else ({name: self.at}, {name: self.past})
        return Probe(self.error, at, past)


def emoji(units: int) -> str:
    """A text of so many UTF-16 units, in as few characters as can be."""
    return "x" * (units % 2) + "\N{GRINNING FACE}" * (units // 2)


def example(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A value that a schema takes, as far as a member of an object needs to be one."""
    if "$ref" in schema:
        return example(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if schema.get("type") == "object":
        return {name: example(schema["properties"][name], definitions) for name in schema.get("required", ())}
    return "x"


def probes(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[Probe]:
    for alternative in schema.get("anyOf", schema.get("oneOf", ())):
        yield from probes(alternative, definitions)
    if (most := schema.get("maxLength")) is not None:
        yield Probe("string_too_long", emoji(most), emoji(most + 1))
        yield Probe("string_too_long", "x" * most, "x" * (most + 1))
    if least := schema.get("minLength", 0):
        yield Probe("string_too_short", "x" * least, "x" * (least - 1))
    if (most := schema.get("maxItems")) is not None:
        yield Probe("too_long", [None] * most, [None] * (most + 1))
    if least := schema.get("minItems", 0):
        yield Probe("too_short", [None] * least, [None] * (least - 1))
    if (most := schema.get("maxProperties")) is not None:
        members = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
        some = {f"name{n}": example(members, definitions) for n in range(most + 1)}
        yield Probe("too_long", dict(list(some.items())[:most]), some)
    step = 1 if schema.get("type") == "integer" else 1e-6
    if (most := schema.get("maximum")) is not None:
        yield Probe("less_than_equal", most, most + step)
    if (least := schema.get("minimum")) is not None:
        yield Probe("greater_than_equal", least, least - step)
    if isinstance(items := schema.get("items"), dict):
        yield from (probe.inside(None) for probe in probes(items, definitions))
    for members in (schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()):
        if isinstance(members, dict):
            yield from (probe.inside("aName") for probe in probes(members, definitions))


def models() -> dict[str, type[BaseModel]]:
    """Every model of a body or a query, and those within them, by name."""
    found: dict[str, type[BaseModel]] = {}

    def add(model: type[BaseModel]) -> None:
        if model.__name__ not in found:
            found[model.__name__] = model
            for field in model.model_fields.values():
                for inner in models_in(field.annotation):
                    add(inner)

    for operation in OPERATIONS:
        bodies = operation.body if isinstance(operation.body, tuple) else (operation.body,)
        for model in (*bodies, operation.query):
            if model is not None:
                add(model)
    return found


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)


def bounds() -> Iterator[Any]:
    for name, model in models().items():
        schema = model.model_json_schema(by_alias=True)
        for alias, described in schema.get("properties", {}).items():
            for number, probe in enumerate(probes(described, schema.get("$defs", {}))):
                yield pytest.param(model, alias, probe, id=f"{name}.{alias}-{number}-{probe.error}")


BOUNDS = list(bounds())


def errors_of(model: type[BaseModel], alias: str, value: Any) -> set[str]:
    try:
        model.model_validate({alias: value}, by_alias=True, by_name=False)
    except ValidationError as error:
        return {found["type"] for found in error.errors(include_url=False) if found["loc"][:1] == (alias,)}
    return set()


@pytest.mark.parametrize(("model", "alias", "probe"), BOUNDS)
def test_a_field_is_taken_at_its_bound_and_refused_past_it(
    model: type[BaseModel], alias: str, probe: Probe
) -> None:
    assert probe.error not in errors_of(model, alias, probe.at)
    assert probe.error in errors_of(model, alias, probe.past)


def test_the_bounds_of_every_kind_are_found() -> None:
    errors = {bound.values[2].error for bound in BOUNDS}
    assert len(errors) == 6 and len(BOUNDS) > 150
