"""The wire models as JSON Schema (2020-12), the way OpenAPI 3.1 takes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from domain.core.wire import rfc3339

REF = "#/components/schemas/{model}"
_Refs = Mapping[tuple[Any, JsonSchemaMode], JsonSchemaValue]


class _Schemas(GenerateJsonSchema):
    """Names a page of `WebhookView` `WebhookPage`, and describes our moments as date-times."""

    def normalize_name(self, name: str) -> str:
        return super().normalize_name(re.sub(r"^PageView\[(\w+?)(?:View)?\]$", r"\1Page", name))

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Webhook Id" says nothing that webhookId does not

    def ser_schema(
        self, schema: core_schema.SerSchema | core_schema.IncExSeqSerSchema | core_schema.IncExDictSerSchema
    ) -> JsonSchemaValue | None:
        if schema["type"] == "function-plain" and schema.get("function") is rfc3339:
            return {"type": "string", "format": "date-time"}
        return super().ser_schema(schema)


@dataclass(frozen=True, slots=True)
class WireSchemas:
    """The schemas of `components` by name; `body`, `response` and `parameters` refer to them."""

    components: dict[str, JsonSchemaValue]
    _refs: _Refs
    _queries: dict[type[BaseModel], JsonSchemaValue]

    def body(self, model: type[BaseModel]) -> JsonSchemaValue:
        return self._refs[model, "validation"]

    def response(self, model: type[BaseModel]) -> JsonSchemaValue:
        return self._refs[model, "serialization"]

    def parameters(self, query: type[BaseModel]) -> list[dict[str, Any]]:
        """Return a query model as one parameter per property."""
        schema = self._queries[query]
        required = schema.get("required", [])
        return [
            _query_parameter(name, dict(property_), name in required)
            for name, property_ in schema["properties"].items()
        ]


def wire_schemas(
    *,
    bodies: Iterable[type[BaseModel]],
    responses: Iterable[type[BaseModel]],
    queries: Iterable[type[BaseModel]],
) -> WireSchemas:
    """Return the schemas of bodies as they are validated and of responses as they are serialized, both by alias."""
    query_models = list(dict.fromkeys(queries))
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        *((model, "validation") for model in dict.fromkeys([*bodies, *query_models])),
        *((model, "serialization") for model in dict.fromkeys(responses)),
    ]
    refs, root = models_json_schema(wanted, by_alias=True, ref_template=REF, schema_generator=_Schemas)
    components: dict[str, JsonSchemaValue] = root.get("$defs", {})
    for schema in components.values():
        schema.pop("title", None)
    expanded = {
        model: components.pop(refs[model, "validation"]["$ref"].rpartition("/")[2]) for model in query_models
    }
    return WireSchemas(components, refs, expanded)


def _query_parameter(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    description = schema.pop("description", None)
    alternatives = [option for option in schema.pop("anyOf", []) if option != {"type": "null"}]
    if len(alternatives) == 1:
        schema |= alternatives[0]
    elif alternatives:
        schema["anyOf"] = alternatives
    if schema.get("default", ...) is None:
        del schema["default"]
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": required, "schema": schema}
    if description := description or schema.pop("description", None):
        parameter["description"] = description
    if schema.get("type") == "array":
        schema.setdefault("minItems", 1)
        parameter |= {"style": "form", "explode": False}
    return parameter
