"""The OpenAPI document is complete, valid, and says what the operations do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

import function_app
from domain.core.permissions import PERMISSIONS
from domain.journal.event_types import EventOrigin
from domain.journal.events import DomainEvent
from domain.webhooks.signing import event_body, new_secret, signed_headers
from functions.http.kit.operations import OPERATIONS, ApiOperation, methods_of
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View
from functions.http.openapi.document import TAGS, document
from functions.http.openapi.examples import EXAMPLES
from functions.http.openapi.schemas import wire_schemas
from infra.version import VERSION
from tests import ROOT

if TYPE_CHECKING:
    from openapi_spec_validator import OpenAPIV31SpecValidator

DOCUMENT = document("https://hub.example.com/")
DESCRIBED = {
    (method, path): described
    for path, item in DOCUMENT["paths"].items()
    for method, described in item.items()
}
EVERY_DESCRIPTION = pytest.mark.parametrize(
    "described", DESCRIBED.values(), ids=[described["operationId"] for described in DESCRIBED.values()]
)
EVERY_OPERATION = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=[operation.name for operation in OPERATIONS]
)


def description_of(operation: ApiOperation) -> dict[str, Any]:
    path = "/api/" + re.sub(r":[^}]*", "", operation.route)
    found: dict[str, Any] = DESCRIBED[operation.method.lower(), path]
    return found


def every(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from every(value)
    elif isinstance(node, list):
        for value in node:
            yield from every(value)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    target: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return resolved(target)


def header_names(described: dict[str, Any]) -> set[str]:
    parameters = [resolved(parameter) for parameter in described.get("parameters", [])]
    return {parameter["name"] for parameter in parameters if parameter["in"] == "header"}


@pytest.fixture
def validator() -> type[OpenAPIV31SpecValidator]:
    """Imported here: that builds some forty grammars, in every process that collects the tests otherwise."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    return OpenAPIV31SpecValidator


def test_it_is_valid_openapi_3_1(validator: type[OpenAPIV31SpecValidator]) -> None:
    validator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1")
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_it_names_the_product_version_and_the_public_address() -> None:
    assert DOCUMENT["info"]["version"] == VERSION
    assert DOCUMENT["servers"] == [{"url": "https://hub.example.com"}]


def test_every_tag_says_what_it_is_about() -> None:
    used = {tag for described in DESCRIBED.values() for tag in described["tags"]}
    assert {tag["name"] for tag in DOCUMENT["tags"] if tag.get("description")} == used
    assert set(TAGS) == used


def test_it_is_made_once_per_process() -> None:
    assert document("https://hub.example.com/") is DOCUMENT


@cache
def served() -> dict[tuple[str, str], set[str]]:
    """Methods by path and function, but for what answers all other paths. An app tells its functions only once."""
    return {
        (get_function.get_function_name(), "/api/" + re.sub(r":[^}]*", "", binding["route"])): {
            str(getattr(method, "value", method)) for method in binding["methods"]
        }
        for get_function in function_app.app.get_functions()
        for binding in get_function.get_dict_repr()["bindings"]
        if binding["type"] == "httpTrigger" and binding["route"] != "{*path}"
    }


def test_every_http_function_of_the_app_is_described() -> None:
    found = {(name.lower(), path) for (_, path), names in served().items() for name in names - {"HEAD"}}
    assert found == set(DESCRIBED)


def test_every_resource_is_registered() -> None:
    imports = (ROOT / "function_app.py").read_text()
    resources = [path.parent.name for path in (ROOT / "functions" / "http").glob("*/routes.py")]
    assert len(resources) > 10
    assert [name for name in resources if f"functions.http.{name}" not in imports] == []


def test_what_reads_takes_head_as_well_and_allow_says_so__RFC_9110() -> None:
    """What the OAuth callback and providers' handshakes do must not be done by a HEAD."""
    heads = {path for (_, path), names in served().items() if "HEAD" in names}
    assert heads == {
        path for path, item in DOCUMENT["paths"].items() if "HEAD" in methods_of(path.removeprefix("/api/"))
    }
    assert {"/api/health/live", "/api/webhooks/{id}", "/api/dashboard"} <= heads
    assert "/api/oauth/callback" not in heads


@EVERY_OPERATION
def test_every_operation_is_documented_with_its_own_words(operation: ApiOperation) -> None:
    described = description_of(operation)
    assert described["summary"] == operation.summary
    assert described["tags"] == [operation.tag]
    assert operation.description in described["description"]
    assert str(operation.status) in described["responses"]
    assert {str(status) for status in operation.refusals} <= set(described["responses"])


@EVERY_OPERATION
def test_every_operation_says_which_permission_it_needs(operation: ApiOperation) -> None:
    described = description_of(operation)
    assert described.get("x-permission") == operation.permission
    if operation.permission:
        assert operation.permission in PERMISSIONS
        assert f"`{operation.permission}`" in described["description"]
        assert "403" in described["responses"]
    assert described.get("x-own-permission") == operation.own_permission
    if operation.own_permission:
        assert operation.permission, "it only stands in for another one"
        assert f"`{operation.own_permission}` for the caller's own calendars" in described["description"]


def test_calendar_connect_opens_these_operations_and_no_others() -> None:
    opened = {
        f"{operation.method} {operation.route}"
        for operation in OPERATIONS
        if operation.own_permission == "calendar:connect"
    }
    own = "integrations/{id}"
    assert opened == {
        *("POST integrations", "GET integrations", f"GET {own}", f"DELETE {own}"),
        *(f"GET {own}/health", f"GET {own}/logs", f"GET {own}/oauth"),
        *(f"GET {own}/records", f"GET {own}/mapping", f"GET {own}/sync-schedule", f"PUT {own}/sync-schedule"),
        *("POST datasyncs", "GET datasyncs", "GET datasyncs/{id}", "DELETE datasyncs/{id}"),
        *("POST datasyncs/{id}/resume", "GET datasyncs/{id}/logs", "GET datasyncs/{id}/records"),
        *("GET providers", "GET providers/{name}"),
    }


@EVERY_OPERATION
def test_every_operation_that_needs_a_credential_may_answer_401(operation: ApiOperation) -> None:
    described = description_of(operation)
    if operation.anonymous:
        assert described["security"] == []
    else:
        assert described["security"] == [{"bearer": []}, {"apiKey": []}]
        assert "401" in described["responses"]


@EVERY_DESCRIPTION
def test_every_operation_has_a_summary_a_known_tag_and_a_500(described: dict[str, Any]) -> None:
    assert described["summary"].strip()
    assert described["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
    assert "500" in described["responses"]


@EVERY_DESCRIPTION
def test_every_error_is_a_problem(described: dict[str, Any]) -> None:
    for status, response in described["responses"].items():
        if status >= "400" and described["operationId"] not in ("healthReady", "oauthCallback"):
            content = resolved(response)["content"]
            assert content == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }


@EVERY_OPERATION
def test_every_post_takes_an_idempotency_key(operation: ApiOperation) -> None:
    described = description_of(operation)
    takes = operation.method == "POST" and not operation.anonymous
    assert ("Idempotency-Key" in header_names(described)) is takes
    if takes:
        assert {"409", "422"} <= set(described["responses"])


@EVERY_OPERATION
def test_a_change_guarded_by_its_version_takes_if_match(operation: ApiOperation) -> None:
    takes = operation.method in ("PUT", "DELETE") and 412 in operation.refusals
    assert ("If-Match" in header_names(description_of(operation))) is takes


@EVERY_OPERATION
def test_a_body_brings_the_errors_of_a_body(operation: ApiOperation) -> None:
    described = description_of(operation)
    assert ("requestBody" in described) is (operation.body is not None)
    if operation.body:
        assert described["requestBody"]["required"] is not operation.body_is_optional
        assert {"400", "413", "422"} <= set(described["responses"])


@EVERY_OPERATION
def test_every_name_in_the_path_is_a_parameter(operation: ApiOperation) -> None:
    names = re.findall(r"\{(\w+)", operation.route)
    parameters = [resolved(parameter) for parameter in description_of(operation).get("parameters", [])]
    assert [parameter["name"] for parameter in parameters if parameter["in"] == "path"] == names
    assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")


def test_a_resource_with_a_version_shows_its_etag() -> None:
    get = DESCRIBED["get", "/api/webhooks/{id}"]
    assert "ETag" in get["responses"]["200"]["headers"]
    assert "304" in get["responses"]
    created = DESCRIBED["post", "/api/webhooks"]["responses"]["201"]["headers"]
    assert {"ETag", "Location", "X-Request-Id", "traceparent", "RateLimit"} <= set(created)
    listed = DESCRIBED["get", "/api/webhooks"]["responses"]["200"]["headers"]
    assert "ETag" not in listed


def test_too_many_requests_says_when_to_come_back() -> None:
    responses = DOCUMENT["components"]["responses"]
    assert "Retry-After" in responses["TooManyRequests"]["headers"]
    assert "Retry-After" in responses["ServiceUnavailable"]["headers"]
    assert "WWW-Authenticate" in responses["Unauthorized"]["headers"]


def test_what_takes_a_body_may_answer_415_naming_what_it_takes() -> None:
    with_body = [described for described in DESCRIBED.values() if "requestBody" in described]
    assert with_body
    assert all("415" in described["responses"] for described in with_body)
    assert {"Accept", "Accept-Encoding"} <= set(
        DOCUMENT["components"]["responses"]["UnsupportedMediaType"]["headers"]
    )


def test_an_event_may_be_raised_alone_or_in_a_batch() -> None:
    content = DESCRIBED["post", "/api/events"]["requestBody"]["content"]["application/json"]
    assert [schema["$ref"].rpartition("/")[2] for schema in content["schema"]["oneOf"]] == [
        "RaiseEvent",
        "RaiseEvents",
    ]


def test_operation_ids_are_unique_camel_case() -> None:
    outgoing = [path["post"]["operationId"] for path in DOCUMENT["webhooks"].values()]
    names = [described["operationId"] for described in DESCRIBED.values()] + outgoing
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", name) for name in names)


def test_every_reference_leads_somewhere() -> None:
    references = [node for node in every(DOCUMENT) if isinstance(node.get("$ref"), str)]
    assert references
    for node in references:
        assert resolved(node)


def test_nothing_in_the_components_is_unused() -> None:
    used = {node["$ref"] for node in every(DOCUMENT) if isinstance(node.get("$ref"), str)}
    for kind in ("schemas", "headers", "parameters"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in used


def test_properties_are_camel_case_and_schema_names_are_plain() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name), name
        for node in every(schema):
            properties = node.get("properties")
            for property_ in properties if isinstance(properties, dict) else ():
                assert re.fullmatch(r"[a-z][A-Za-z0-9]*", property_), f"{name}.{property_}"


@pytest.mark.parametrize("key", EXAMPLES, ids=" ".join)
def test_examples_are_taken_by_the_operation_they_show(key: tuple[str, str]) -> None:
    method, route = key
    shown = [operation for operation in OPERATIONS if (operation.method, operation.route) == (method, route)]
    if not shown:
        pytest.skip("no such operation in this version")
    body = shown[0].body
    models = body if isinstance(body, tuple) else (body,)
    for value in EXAMPLES[key].values():
        taken = 0
        for model in models:
            assert model is not None
            try:
                model.model_validate_json(json.dumps(value))
            except ValueError:
                continue
            taken += 1
        assert taken == 1, f"{value} is taken by {taken} of {models}"


class _Thing(View):
    made_at: Moment
    note: str | None


class _Search(PageQuery):
    colour: CommaSeparated[str] | None = None
    name: str


def test_a_generic_page_is_named_for_what_it_holds() -> None:
    class ThingView(_Thing):
        pass

    schemas = wire_schemas(bodies=[], responses=[PageView[ThingView]], queries=[])
    assert set(schemas.components) == {"ThingPage", "ThingView"}
    assert schemas.response(PageView[ThingView]) == {"$ref": "#/components/schemas/ThingPage"}
    assert schemas.components["ThingView"]["properties"]["madeAt"] == {
        "type": "string",
        "format": "date-time",
    }


def test_a_query_model_becomes_one_parameter_per_property() -> None:
    schemas = wire_schemas(bodies=[], responses=[], queries=[_Search])
    parameters = {parameter["name"]: parameter for parameter in schemas.parameters(_Search)}
    assert set(parameters) == {"page", "pageSize", "colour", "name"}
    assert (parameters["colour"]["style"], parameters["colour"]["explode"]) == ("form", False)
    assert parameters["colour"]["schema"] == {"type": "array", "items": {"type": "string"}, "minItems": 1}
    assert parameters["name"]["required"] and not parameters["page"]["required"]
    assert schemas.components == {}


def test_the_outgoing_requests_describe_what_is_sent() -> None:
    now = datetime(2025, 12, 22, 10, tzinfo=UTC)
    origin = EventOrigin.of_provider("Stripe", UUID(int=2))
    event = DomainEvent(
        "e-1", UUID(int=1), "BookingConfirmed", '{"a":1}', now, subject="booking/42", origin=origin
    )
    schema = DOCUMENT["components"]["schemas"]["OutgoingEvent"]
    body = json.loads(event_body(event))
    assert set(body) == set(schema["properties"])
    assert set(body["origin"]) == set(DOCUMENT["components"]["schemas"]["EventOrigin"]["properties"])
    sent = signed_headers([new_secret()], "e-1", now, b"{}")
    described = header_names(DOCUMENT["webhooks"]["event"]["post"])
    assert set(sent) - {"content-type"} <= described
