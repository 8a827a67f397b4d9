"""What surrounds every HTTP function: trace, problems and bodies."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

import domain.core.errors as errors
from domain.core.wire import UtcMoment
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.problems import MalformedBody, UnsupportedCoding, UnsupportedMediaType
from functions.http.kit.views import PageQuery
from infra.app.build import serving
from infra.outbound.request import OutboundRequest
from tests.worlds.builders import Reply
from tests.worlds.http_app import SECRET, TRACE, App, Thing, said, serving_app


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    for name in ("HUB_HOME", "HUB_ENVIRONMENT", "ServiceBusConnection"):
        monkeypatch.delenv(name, raising=False)
    with serving_app(tmp_path) as made:
        yield made


# -- trace ------------------------------------------------------------------------------------------------


def test_the_request_id_is_echoed(app: App) -> None:
    response = app.serve(lambda call: ApiResponse(Thing()))(
        app.request("GET", "things", x_request_id="abc-1.2_3")
    )
    assert response.headers["X-Request-Id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "a\r\nSet-Cookie: x=1", "é", "<script>", "x" * 129])
def test_a_request_id_that_could_do_harm_is_replaced(app: App, given: str) -> None:
    response = app.serve(lambda call: ApiResponse(Thing()))(app.request("GET", "things", x_request_id=given))
    assert response.headers["X-Request-Id"] != given
    assert len(response.headers["X-Request-Id"]) == 36


def test_the_callers_trace_is_continued_with_a_span_of_our_own(app: App) -> None:
    response = app.serve(lambda call: ApiResponse(Thing()))(
        app.request("GET", "things", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    )
    version, trace, span, flags = response.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "given", ["", "junk", f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"]
)
def test_a_trace_that_is_not_valid_is_begun_anew(app: App, given: str) -> None:
    response = app.serve(lambda call: ApiResponse(Thing()))(app.request("GET", "things", traceparent=given))
    trace = response.headers["traceparent"].split("-")[1]
    assert len(trace) == 32
    assert trace not in (TRACE, "0" * 32)


# -- problems ---------------------------------------------------------------------------------------------


def test_settings_that_keep_the_hub_from_being_built_are_a_problem_and_name_no_value(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = app.serve(lambda call: ApiResponse(Thing()))
    monkeypatch.setenv("HUB_WEBHOOK_MAX_RETRIES", "no-number-51")
    with serving(None):
        response = handle(app.request("GET", "things"))
    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert b"no-number-51" not in response.get_body()


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (errors.NotFound("No."), 404, {}),
        (errors.Conflict("No."), 409, {}),
        (errors.RuleViolation("No.", code="BR-WH-07"), 409, {}),
        (errors.PreconditionFailed("No."), 412, {}),
        (errors.TooLarge("No.", code="BR-WH-08"), 413, {}),
        (errors.ValidationFailed("No.", [errors.FieldError("/a", "Bad.")]), 422, {}),
        (
            errors.InvalidToken('Say "please".'),
            401,
            {
                "WWW-Authenticate": 'Bearer realm="integration-hub", error="invalid_token", '
                'error_description="Say \\"please\\"."'
            },
        ),
        (errors.Unauthenticated("No."), 401, {"WWW-Authenticate": 'Bearer realm="integration-hub"'}),
        (errors.Unauthenticated("No.", code="bad-signature"), 401, {}),
        (errors.Forbidden("No."), 403, {}),
        (errors.RateLimited("No.", retry_after_seconds=17), 429, {"Retry-After": "17"}),
        (errors.Unavailable("No."), 503, {"Retry-After": "5"}),
        (MalformedBody("No."), 400, {}),
        (UnsupportedMediaType("No."), 415, {"Accept": "application/json"}),
        (UnsupportedCoding("gzip"), 415, {"Accept-Encoding": "identity"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_error_is_a_problem_of_its_own_status(
    app: App, error: errors.DomainError, status: int, headers: dict[str, str]
) -> None:
    def handler(call: Call) -> ApiResponse:
        raise error

    response = app.serve(handler)(
        app.request("POST", "things", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    )
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    body = said(response)
    assert (body["status"], body["code"], body["detail"]) == (status, error.code, error.detail)
    assert (body["instance"], body["traceId"]) == ("/api/things", TRACE)
    assert body["type"].endswith(error.code)
    assert body["title"]
    assert {name: response.headers[name] for name in headers} == headers
    assert ("errors" in body) == (status == 422)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("is_async", [False, True])
def test_an_unexpected_error_shows_nothing_and_is_logged_with_its_stack(
    app: App, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def handler(call: Call) -> ApiResponse:
        raise RuntimeError("internal detail")

    async def async_handler(call: Call) -> ApiResponse:
        return handler(call)

    request = app.request("POST", "things", {"secret": SECRET})
    response = app.serve(async_handler if is_async else handler)(request)
    assert response.status_code == 500
    body = response.get_body().decode()
    for inner in ("internal detail", "RuntimeError", "Traceback", ".py"):
        assert inner not in body
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    token = request.headers["authorization"].removeprefix("Bearer ")
    assert SECRET not in caplog.text
    assert token not in caplog.text


def test_no_secret_is_logged_when_creating_a_webhook_breaks(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []

    def breaks(request: OutboundRequest) -> Reply:
        raise RuntimeError("the client broke")

    app.receivers.verification = breaks
    sealing = app.hub.cipher.seal

    def watched(plaintext: str, *, context: str) -> str:
        shown.append(plaintext)
        return sealing(plaintext, context=context)

    app.hub.cipher.seal = watched  # type: ignore[method-assign]
    with caplog.at_level(logging.DEBUG):
        response = app.call(
            "create_webhook",
            app.request("POST", "webhooks", {"url": "https://a.example/", "eventTypes": ["*"]}),
        )
    assert response.status_code == 500
    [secret] = [text for text in shown if text.startswith("whsec_")]
    assert secret not in caplog.text
    assert secret not in response.get_body().decode()


@pytest.mark.parametrize(
    ("headers", "code", "error"),
    [
        ({"authorization": ""}, "unauthenticated", None),
        ({"authorization": "Basic YTpi"}, "unauthenticated", None),
        ({"authorization": "Bearer"}, "unauthenticated", None),
        ({"authorization": "", "x_ms_client_principal": "eyJ9"}, "unauthenticated", None),
        ({"authorization": "Bearer not.a.token"}, "invalid-token", "invalid_token"),
        ({"authorization": "Bearer ihk_mistyped"}, "invalid-key", "invalid_token"),
        ({"authorization": "", "x_api_key": "ihk_mistyped"}, "invalid-key", "invalid_token"),
        ({"authorization": "Bearer a", "x_api_key": "ihk_b"}, "unauthenticated", "invalid_request"),
    ],
    ids=str,
)
def test_a_challenge_names_an_error_only_of_a_token_that_was_sent__RFC_6750(
    app: App, headers: dict[str, str], code: str, error: str | None
) -> None:
    response = app.call("list_webhooks", app.request("GET", "webhooks", **headers))
    assert (response.status_code, said(response)["code"]) == (401, code)
    challenge = response.headers["WWW-Authenticate"]
    if error is None:
        assert challenge == 'Bearer realm="integration-hub"'
    else:
        assert challenge.startswith(f'Bearer realm="integration-hub", error="{error}", error_description="')


def test_a_caller_without_the_permission_is_403_naming_it(app: App) -> None:
    request = app.request("GET", "webhooks", authorization=f"Bearer {app.token('events:write')}")
    response = app.call("list_webhooks", request)
    assert response.status_code == 403
    assert "webhook:manage" in said(response)["detail"]


def test_the_permission_is_asked_before_the_body_is_read(app: App) -> None:
    request = app.request(
        "POST", "webhooks", b"not json", authorization=f"Bearer {app.token('events:write')}"
    )
    assert app.call("create_webhook", request).status_code == 403


# -- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "pointers"),
    [
        (b"", 400, []),
        (b"  ", 400, []),
        (b"not json", 400, []),
        (b'{"url":', 400, []),
        (b'{"url":"\xff"}', 400, []),
        (b'{"url":"\\ud800"}', 400, []),
        (b"[" * 100_000, 400, []),
        (b"[]", 422, [""]),
        (b"{}", 422, ["/url", "/eventTypes"]),
        (b'{"url":"https://a.example","eventTypes":["*"],"a/b~c":1}', 422, ["/a~1b~0c"]),
        (b'{"url":"https://a.example","eventTypes":["*",5]}', 422, ["/eventTypes/1"]),
        (b'{"url":"https://a.example","event_types":["*"]}', 422, ["/eventTypes", "/event_types"]),
        (
            b'{"url":"https://a.example","eventTypes":["*"],"retryPolicy":{"max_retries":1}}',
            422,
            ["/retryPolicy/max_retries"],
        ),
        (b'{"url":"https://a.example","eventTypes":["*"],"timeoutSeconds":"30"}', 422, ["/timeoutSeconds"]),
        (b'{"url":"a","eventTypes":["*"],"retryPolicy":{"maxRetries":11}}', 422, ["/retryPolicy/maxRetries"]),
        (b'{"url":"http://a.example","eventTypes":["*"]}', 422, ["/url"]),
        (b'{"url":"' + b"a" * 1_200_000 + b'"}', 413, []),
    ],
    ids=lambda value: value[:40].decode(errors="replace") if isinstance(value, bytes) else None,
)  # fmt: skip
def test_a_bad_body_is_explained_by_pointers(app: App, body: bytes, status: int, pointers: list[str]) -> None:
    response = app.call("create_webhook", app.request("POST", "webhooks", body))
    assert response.status_code == status
    assert [error["pointer"] for error in said(response).get("errors", [])] == pointers


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_api_key_beside_a_bearer_token_counts_as_absent(app: App, empty: str) -> None:
    handle = app.serve(lambda call: ApiResponse(Thing()), permission="webhook:manage")
    assert handle(app.request("GET", "things", x_api_key=empty)).status_code == 200
    assert handle(app.request("GET", "things", x_api_key=empty, authorization="")).status_code == 401
    assert handle(app.request("GET", "things", x_api_key="ihk_something")).status_code == 401


class ThingQuery(PageQuery):
    state: str | None = None
    since: UtcMoment | None = Field(None, alias="from")


@pytest.mark.parametrize(
    ("parameters", "unknown"),
    [
        ({}, []),
        ({"state": "x", "pageSize": "5", "from": "2026-01-01T00:00:00Z"}, []),
        ({"State": "x"}, ["/State"]),
        ({"statu": "x", "page": "1", "sort": ""}, ["/statu", "/sort"]),
        ({"page_size": "5"}, ["/page_size"]),
        ({"since": "2026-01-01T00:00:00Z"}, ["/since"]),
        ({"tenantId" * 40: "x"}, ["/" + ("tenantId" * 40)[:100]]),
    ],
)
def test_a_query_parameter_that_the_operation_does_not_have_is_422(
    app: App, parameters: dict[str, str], unknown: list[str]
) -> None:
    handle = app.serve(lambda call: ApiResponse(Thing(name=repr(call.query(ThingQuery)))), query=ThingQuery)
    response = handle(app.request("GET", "things", parameters=parameters))
    assert response.status_code == (422 if unknown else 200)
    errors = said(response).get("errors", [])
    assert [error["pointer"] for error in errors] == unknown
    assert all("page, pageSize, state, from" in error["detail"] for error in errors)


@pytest.mark.parametrize(("foreign", "status"), [(False, 422), (True, 200)])
def test_an_operation_without_parameters_takes_those_of_others_only_where_it_says_so(
    app: App, foreign: bool, status: int
) -> None:
    handle = app.serve(lambda call: ApiResponse(Thing()), foreign_query=foreign)
    response = handle(app.request("POST", "things", parameters={"negotiateVersion": "1"}))
    assert response.status_code == status


FORM = "application/x-www-form-urlencoded"
GOOD = b'{"url":"https://a.example/","eventTypes":["*"]}'


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (FORM, b"url=https%3A%2F%2Fa.example%2F&eventTypes=*"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\n--x--',
        ),
        ("text/plain; charset=utf-8", b"url"),
        ("application/xml", b"<url/>"),
        ("application/jsonp", GOOD),
        ("nonsense", GOOD),
    ],
)
def test_a_body_that_is_not_sent_as_json_is_415_naming_both_types(
    app: App, media_type: str, body: bytes
) -> None:
    response = app.call("create_webhook", app.request("POST", "webhooks", body, content_type=media_type))
    assert (response.status_code, response.headers["Accept"]) == (415, "application/json")
    problem = said(response)
    assert problem["code"] == "unsupported-media-type"
    assert media_type.partition(";")[0] in problem["detail"]
    assert "application/json" in problem["detail"]


def test_json_under_curls_own_type_is_told_the_missing_header(app: App) -> None:
    response = app.call("create_webhook", app.request("POST", "webhooks", GOOD, content_type=FORM))
    assert response.status_code == 415
    assert "-H 'Content-Type: application/json'" in said(response)["detail"]


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", "text/json"],
)
def test_json_is_taken_as_any_kind_of_json_and_without_a_type(app: App, media_type: str) -> None:
    given = {"content_type": media_type} if media_type else {}
    assert app.call("create_webhook", app.request("POST", "webhooks", GOOD, **given)).status_code == 201


@pytest.mark.parametrize("media_type", [FORM, "text/plain"])
def test_a_body_that_may_be_left_out_has_no_type_when_it_is(app: App, media_type: str) -> None:
    created = said(app.call("create_webhook", app.request("POST", "webhooks", GOOD)))
    path = f"webhooks/{created['webhookId']}/secret/rotate"
    empty = app.request("POST", path, b"", content_type=media_type)
    assert app.call("rotate_webhook_secret", empty).status_code == 200
    form = app.request("POST", path, b"overlapSeconds=0", content_type=media_type)
    assert app.call("rotate_webhook_secret", form).status_code == 415


def test_a_missing_body_is_told_as_missing_whatever_its_type(app: App) -> None:
    response = app.call("create_webhook", app.request("POST", "webhooks", b"", content_type=FORM))
    assert (response.status_code, said(response)["code"]) == (400, "malformed-json")


def test_events_are_taken_as_json_only_too(app: App) -> None:
    request = app.request("POST", "events", b'{"type":"A","data":{}}', content_type=FORM)
    assert app.call("raise_events", request).status_code == 415


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("identity", 201)])
def test_a_compressed_body_is_415_naming_its_coding(app: App, coding: str, status: int) -> None:
    response = app.call("create_webhook", app.request("POST", "webhooks", GOOD, content_encoding=coding))
    assert response.status_code == status
    if status == 415:
        assert response.headers["Accept-Encoding"] == "identity"
        assert "gzip" in said(response)["detail"]


def test_a_body_with_countless_errors_is_answered_with_a_hundred(app: App) -> None:
    body = {f"unknown{n}": n for n in range(5_000)}
    response = app.call("create_webhook", app.request("POST", "webhooks", body))
    assert len(said(response)["errors"]) == 100


def test_the_pointer_of_an_event_says_where_it_stands(app: App) -> None:
    large = {"type": "A", "data": {"x": "a" * 1_100_000}}
    for body, pointer in ((large, "/data"), ({"events": [large]}, "/events/0/data")):
        response = app.call("raise_events", app.request("POST", "events", body))
        assert (response.status_code, said(response)["code"]) == (413, "BR-WH-08")
        assert [error["pointer"] for error in said(response)["errors"]] == [pointer]


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"A","data":{"x":NaN}}',
        b'{"type":"A","data":{"x":"\\ud800"}}',
        b'{"type":"A","data":{"x":' + b"9" * 5_000 + b"}}",
        b'{"type":"A","data":{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
        b'{"events":[' + b"[" * 50_000,
        b'{"events":[{"type":"A","data":{"x":' + b"9" * 5_000 + b"}}]}",
        b'{"events":[]}',
        b'{"type":"A","data":{},"occurredAt":"0001-01-01T00:00:00+14:00"}',
    ],
    ids=lambda body: body[:45].decode(),
)
def test_hostile_json_is_a_clean_4xx(app: App, body: bytes) -> None:
    response = app.call("raise_events", app.request("POST", "events", body))
    assert 400 <= response.status_code < 500


def test_an_id_that_is_no_guid_is_an_unknown_id(app: App) -> None:
    response = app.call("get_webhook", app.request("GET", "webhooks/not-a-guid"))
    assert response.status_code == 404


# -- bodies and parameters that the host leaves out -------------------------------------------------------


@pytest.mark.parametrize("is_optional", [False, True])
def test_a_body_that_came_in_chunks_is_411_and_nothing_is_done(app: App, is_optional: bool) -> None:
    called: list[Call] = []

    def handler(call: Call) -> ApiResponse:
        called.append(call)
        return ApiResponse(Thing())

    serve = app.serve(handler, body=Thing, body_is_optional=is_optional)
    response = serve(
        app.request("POST", "things", transfer_encoding="chunked", content_type="application/json")
    )
    problem = said(response)
    assert (response.status_code, problem["code"], called) == (411, "length-required", [])
    assert "Content-Length" in str(problem["detail"])


def test_a_body_in_chunks_that_did_arrive_is_taken(app: App) -> None:
    serve = app.serve(lambda call: ApiResponse(call.body(Thing)), body=Thing)
    sent = app.request("POST", "things", {}, transfer_encoding="chunked", content_type="application/json")
    assert serve(sent).status_code == 200


def test_a_request_that_needs_no_body_may_be_chunked(app: App) -> None:
    serve = app.serve(lambda call: ApiResponse(Thing()))
    assert serve(app.request("POST", "things", transfer_encoding="chunked")).status_code == 200


@pytest.mark.parametrize("parameters", [{"page": ""}, {"pageSize": "", "page": "1"}, {"unknown": ""}])
def test_a_parameter_without_a_value_is_422_and_not_left_out(app: App, parameters: dict[str, str]) -> None:
    serve = app.serve(
        lambda call: ApiResponse(Thing()) if call.query(PageQuery) else ApiResponse(),
        query=PageQuery,
        method="GET",
    )
    response = serve(app.request("GET", "things", parameters=parameters))
    assert (response.status_code, said(response)["code"]) == (422, "validation-failed")
