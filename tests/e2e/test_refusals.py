"""What is refused, and how: always the right problem, never a 500, and nothing changes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from bench.harness import HostProcess
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e
_GOOD: dict[str, Any] = {"url": "http://localhost:9/hook", "eventTypes": ["*"]}


def raw(
    api: Api, method: str, path: str, body: bytes | None, media_type: str = "application/json"
) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {api.token}", "content-type": media_type}
    request = urllib.request.Request(f"{api.host.url}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        assert error.headers["content-type"] == "application/problem+json"
        return error.code, json.loads(error.read())


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"{", 400, None),
        (b"", 400, None),
        (b"\xff\xfe", 400, None),
        (b"[]", 422, ""),
        (b'"text"', 422, ""),
        (json.dumps({**_GOOD, "eventTypes": []}).encode(), 422, "/eventTypes"),
        (json.dumps({**_GOOD, "eventTypes": [7]}).encode(), 422, "/eventTypes/0"),
        (json.dumps({**_GOOD, "eventTypes": ["no spaces"]}).encode(), 422, "/eventTypes/0"),
        (json.dumps({**_GOOD, "timeoutSeconds": "30"}).encode(), 422, "/timeoutSeconds"),
        (json.dumps({**_GOOD, "timeoutSeconds": 4}).encode(), 422, "/timeoutSeconds"),
        (json.dumps({**_GOOD, "timeoutSeconds": 301}).encode(), 422, "/timeoutSeconds"),
        (json.dumps({**_GOOD, "retryPolicy": {"maxRetries": 11}}).encode(), 422, "/retryPolicy/maxRetries"),
        (json.dumps({**_GOOD, "surprise": 1}).encode(), 422, "/surprise"),
        (json.dumps({**_GOOD, "url": "http://example.org/hook"}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "url": "https://10.0.0.1/hook"}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "url": "https://169.254.169.254/latest"}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "url": "https://[::ffff:10.0.0.1]/hook"}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "url": "https://example.org/" + "x" * 500}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "url": "ftp://example.org/"}).encode(), 422, "/url"),
        (json.dumps({**_GOOD, "integrationId": "not-a-guid"}).encode(), 422, "/integrationId"),
        (json.dumps({**_GOOD, "integrationId": str(uuid4())}).encode(), 422, "/integrationId"),
        (b'{"url": "' + b"x" * 2_000_000 + b'"}', 413, None),
    ],
)
def test_a_bad_webhook_is_refused_and_nothing_is_created(
    api: Api, body: bytes, status: int, pointer: str | None
) -> None:
    answered, problem = raw(api, "POST", "/webhooks", body)
    assert answered == status == problem["status"]
    assert {"type", "title", "detail", "instance", "traceId", "code"} <= problem.keys()
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]]
    assert api("GET", "/webhooks")[1]["total"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"type": "A"}', 422),
        (b'{"type": "1st", "data": {}}', 422),
        (b'{"type": "A", "data": []}', 422),
        (b'{"type": "A", "data": {}, "id": "no spaces allowed"}', 422),
        (b'{"type": "A", "data": {}, "occurredAt": "yesterday"}', 422),
        (b'{"type": "A", "data": {}, "extra": 1}', 422),
        (b'{"type": "A", "data": {"x": NaN}}', 422),
        (b'{"type": "A", "data": {"x": "\\ud800"}}', 422),
        (b'{"type": "A", "data": {"x": 1, "x": 1}}', 422),
        (
            b'{"events": [{"type": "A", "data": {}}, {"type": "A", "data": {"x": {"y": 1, "\\u0079": 2}}}]}',
            422,
        ),
        (b'{"type": "A", "data": {"x": 1' + b"0" * 5000 + b"}}", 422),
        (b'{"type": "A", "data": {"x": ' + b"[" * 5000 + b"]" * 5000 + b"}}", 400),
        (b'{"events": []}', 422),
        (b'{"events": ' + json.dumps([{"type": "A", "data": {}}] * 1001).encode() + b"}", 422),
        (b'{"events": [{"type": "A", "data": {}}, {"type": "bad type", "data": {}}]}', 422),
        (b'{"type": "A", "data": {"x": "' + b"y" * 1024 * 1024 + b'"}}', 413),
    ],
)
def test_a_bad_event_is_refused_and_nothing_is_stored(
    api: Api, receiver: Receiver, body: bytes, status: int
) -> None:
    webhook = api.webhook(receiver.url)
    answered, problem = raw(api, "POST", "/events", body)
    # A JSON parser may call the same text malformed or invalid; both are the client's error.
    assert answered in ({400, 422} if status in (400, 422) else {status}), problem
    assert api.deliveries(webhook["webhookId"]) == []


def test_a_form_is_415_and_nothing_is_stored(api: Api) -> None:
    form = "application/x-www-form-urlencoded"
    for body in (b"url=http%3A%2F%2Flocalhost%3A9%2F&eventTypes=*", json.dumps(_GOOD).encode()):
        status, problem = raw(api, "POST", "/webhooks", body, form)
        assert (status, problem["code"]) == (415, "unsupported-media-type")
        assert form in problem["detail"]
    assert api("GET", "/webhooks")[1]["total"] == 0


def test_a_body_in_chunks_is_411_and_nothing_is_stored(api: Api) -> None:
    body = json.dumps(_GOOD).encode()
    headers = {"authorization": f"Bearer {api.token}", "content-type": "application/json"}
    answer = httpx.post(f"{api.host.url}/webhooks", content=iter([body[:9], body[9:]]), headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (411, "length-required")
    assert "Content-Length" in problem["detail"]
    assert api("GET", "/webhooks")[1]["total"] == 0


def test_a_filter_without_a_value_is_422_and_does_not_list_everything(api: Api) -> None:
    for path in ("/webhooks?status=", "/webhooks?pageSize=", "/webhooks?nothing="):
        status, problem = api("GET", path)
        assert (status, problem["code"]) == (422, "validation-failed"), path


def test_a_payload_of_exactly_one_mebibyte_is_taken_and_one_byte_more_is_not__BR_WH_08(api: Api) -> None:
    frame = len('{"x": ""}')  # with the space, which is kept too
    at_limit = {"type": "A", "data": {"x": "y" * (1024 * 1024 - frame)}}
    assert api("POST", "/events", at_limit)[0] == 202
    over = {"type": "A", "data": {"x": "y" * (1024 * 1024 - frame + 1)}}
    status, problem = api("POST", "/events", over)
    assert (status, problem["code"]) == (413, "BR-WH-08")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/webhooks/{id}"),
        ("PUT", "/webhooks/{id}"),
        ("DELETE", "/webhooks/{id}"),
        ("POST", "/webhooks/{id}/verify"),
        ("POST", "/webhooks/{id}/test"),
        ("POST", "/webhooks/{id}/secret/rotate"),
        ("GET", "/webhooks/{id}/deliveries"),
        ("GET", "/webhooks/{id}/deliveries/{other}"),
        ("POST", "/webhooks/{id}/deliveries/{other}/retry"),
    ],
)
def test_an_unknown_id_and_another_tenants_id_look_the_same(
    host: HostProcess, api: Api, receiver: Receiver, method: str, path: str
) -> None:
    owner = fresh_tenant(host)
    webhook = owner.webhook(receiver.url)
    body = {} if method in ("PUT", "POST") else None
    answers = [
        api(method, path.replace("{id}", id_).replace("{other}", str(uuid4())), body)
        for id_ in (webhook["webhookId"], str(uuid4()), "not-a-guid")
    ]
    assert [status for status, _ in answers] == [404, 404, 404]
    assert answers[0][1]["detail"] == answers[1][1]["detail"]
    assert owner("GET", f"/webhooks/{webhook['webhookId']}")[1]["modifiedAt"] == webhook["modifiedAt"]


def _tokens(host: HostProcess) -> dict[str, str | None]:
    good = host.token()
    header, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    return {
        "missing": None,
        "garbage": "garbage",
        "expired": host.token("--ttl", "-120"),
        "unsigned": jwt.encode(claims, "", algorithm="none"),
        "shared secret": jwt.encode(
            claims, "x" * 32, algorithm="HS256", headers={"kid": jwt.get_unverified_header(good)["kid"]}
        ),
        "altered": f"{header}.{payload[:-2]}{'AA' if payload[-2:] != 'AA' else 'BB'}.{signature}",
    }


@pytest.mark.parametrize("kind", ["missing", "garbage", "expired", "unsigned", "shared secret", "altered"])
def test_a_token_that_does_not_hold_is_401_and_said_to_be_invalid__RFC_6750(
    host: HostProcess, kind: str
) -> None:
    token = _tokens(host)[kind]
    answer = httpx.post(
        f"{host.url}/webhooks",
        json=_GOOD,
        headers={} if token is None else {"Authorization": f"Bearer {token}"},
    )
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (401, 401)
    assert problem["code"] == ("unauthenticated" if token is None else "invalid-token")
    challenge = answer.headers["WWW-Authenticate"]
    if token is None:
        assert challenge == 'Bearer realm="integration-hub"'
    else:
        assert 'error="invalid_token"' in challenge
    assert token is None or token not in answer.text


def test_a_permission_not_held_is_403_and_named(host: HostProcess) -> None:
    api = fresh_tenant(host, "events:write")
    status, problem = api("POST", "/webhooks", _GOOD)
    assert status == 403
    assert "webhook:manage" in problem["detail"]
    assert fresh_tenant(host, "webhook:manage")("POST", "/events", {"type": "A", "data": {}})[0] == 403


def test_a_path_or_method_that_does_not_exist_is_a_problem_too(api: Api) -> None:
    assert api("GET", "/nothing/here")[1]["code"] == "no-such-path"
    status, problem = api("DELETE", "/webhooks")
    assert (status, problem["code"]) == (405, "method-not-allowed")
    for path in ("/dashboard", "/health/live", "/openapi.json"):
        assert api("DELETE", path)[0] == 405
    assert api("OPTIONS", "/apikeys/scopes")[1]["detail"] == "This path allows GET, HEAD."
    # The route of an id catches it.
    for method in ("PUT", "DELETE"):
        assert api(method, "/apikeys/verify", {"no": "reason"})[1]["detail"] == "This path allows POST."
    assert api("PUT", "/apikeys/nothing", {})[0] == 404


def test_head_is_answered_as_get_without_a_body__RFC_9110(api: Api) -> None:
    for path in ("/webhooks", "/health/live", "/dashboard"):
        assert api("HEAD", path) == (200, None)


def test_a_pointer_escapes_what_the_field_is_called__RFC_6901(api: Api) -> None:
    body = {
        "name": "Mail",
        "integrationType": "EmailService",
        "provider": "Mailgun",
        "configuration": {"a~b/c": 1},
    }
    status, problem = api("POST", "/integrations", body)
    assert status == 422
    assert "/configuration/a~0b~1c" in {error["pointer"] for error in problem["errors"]}


def test_page_parameters_out_of_range_are_422(api: Api) -> None:
    for query in ("page=0", "pageSize=201", "pageSize=x", "state=Sleeping"):
        assert api("GET", f"/webhooks?{query}")[0] == 422
