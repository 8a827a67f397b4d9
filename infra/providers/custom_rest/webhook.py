"""Webhooks of a custom REST API: verified by the declared scheme, and read whatever their body is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from domain.providers.content import decoded
from domain.providers.contract import IncomingAnswer, IncomingRequest, ProviderFailure, VerifiedEvent
from infra.providers._kit.contents import events_of, read_in_parts, read_json
from infra.providers._kit.event_grid import event_grid_answer, event_grid_secret
from infra.providers._kit.signatures import (
    check_basic,
    check_equal,
    check_github,
    check_slack,
    check_standard_webhooks,
    digest_id,
    required_header,
    required_secret,
    signed_bytes,
)
from infra.providers._kit.wire import event_type, is_form
from infra.providers.custom_rest.configuration import CustomRestConfiguration, WebhookScheme
from infra.providers.custom_rest.records import value_at

#: A longer list is one event.
_ELEMENTS_MAX = 1_000
_CHALLENGE_MAX = 1_000
_CHALLENGED = ("meta", "github", "hmac", "token")
_TEXTS = ("text/", "application/xml")


def declared_answer(configuration: CustomRestConfiguration, request: IncomingRequest) -> IncomingAnswer:
    """Verify a request and name its events; one without an id of its own is known by what was signed."""
    declared = configuration.webhook
    assert declared is not None
    secret = required_secret(configuration.webhook_secret)
    if declared.scheme in _CHALLENGED and request.method == "GET" and "hub.mode" in request.query:
        return _subscribed(request.query, configuration.webhook_verify_token or secret)
    signed_id = _verify(declared, secret, request)
    if declared.scheme == "eventGrid":
        return event_grid_answer(request)
    value = _content(request)
    if declared.scheme == "slack" and _is_url_verification(value):
        return IncomingAnswer(body=value["challenge"].encode())
    if isinstance(value, list) and 0 < len(value) <= _ELEMENTS_MAX:
        named = (
            _element(declared, entry, f"{signed_id}.{position}" if signed_id else None)
            for position, entry in enumerate(value)
        )
        return IncomingAnswer(tuple(chain.from_iterable(named)))
    return IncomingAnswer((_event(declared, value, signed_id, digest_id(request.body)),))


def _subscribed(query: Mapping[str, str], verify_token: str) -> IncomingAnswer:
    """Echo the challenge of a subscription whose token is right.

    https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests"""
    check_equal(query.get("hub.verify_token", ""), verify_token, "verify token")
    challenge = query.get("hub.challenge", "")
    if query["hub.mode"] != "subscribe" or not 0 < len(challenge) <= _CHALLENGE_MAX:
        raise ProviderFailure("malformed", "The handshake is no subscription with a challenge.")
    return IncomingAnswer(body=challenge.encode())


def _is_url_verification(value: Any) -> bool:
    """Return whether Slack asks for the challenge.

    https://docs.slack.dev/reference/events/url_verification"""
    return (
        isinstance(value, dict)
        and value.get("type") == "url_verification"
        and isinstance(value.get("challenge"), str)
    )


def _verify(declared: WebhookScheme, secret: str, request: IncomingRequest) -> str | None:
    """Return the message id, where the scheme signs one. Raises SignatureRefused."""
    headers, body, now = request.headers, request.body, request.received_at
    tolerance = declared.tolerance_seconds
    match declared.scheme:
        case "standardWebhooks":
            return check_standard_webhooks([secret], headers, body, now, tolerance_seconds=tolerance)
        case "github" | "meta":
            check_github([secret], headers, body)
        case "slack":
            check_slack([secret], headers, body, now, tolerance_seconds=tolerance)
        case "eventGrid":
            check_equal(event_grid_secret(request), secret, "secret")
        case "token":
            check_equal(required_header(headers, declared.header), secret, "token")
        case "basic":
            check_basic(headers, declared.username, secret)
        case "hmac":
            declared.hmac_scheme().check([secret], headers, body, now, url=request.url, method=request.method)
            return headers.get(declared.id_header.lower()) if declared.id_header else None
    return None


def _element(declared: WebhookScheme, entry: Any, signed_id: str | None) -> tuple[VerifiedEvent, ...]:
    def read(element: Any) -> VerifiedEvent:
        digest = digest_id(signed_bytes(json.dumps(element, sort_keys=True)))
        return _event(declared, element, signed_id, digest)

    return events_of([entry], read, objects_only=False)


def _event(declared: WebhookScheme, value: Any, signed_id: str | None, digest: str) -> VerifiedEvent:
    event_id = _named(value, declared.event_id_pointer) or signed_id or digest
    kind = _named(value, declared.event_type_pointer) or "event"
    data = value if isinstance(value, dict) else {"value": value}
    return VerifiedEvent(event_id, event_type(kind), data)


def _named(value: Any, pointer: str | None) -> str | None:
    found = value_at(value, pointer) if pointer is not None else None
    named = isinstance(found, str | int) and not isinstance(found, bool) and found != ""
    return str(found) if named else None


def _content(request: IncomingRequest) -> Any:
    """Return the body as a value of JSON: a form as an object, texts as `{"text"}`, other bytes as `{"base64"}`.

    Raises ProviderFailure (`malformed`) for a body that says it is JSON and is not."""
    if request.method == "GET" and not request.body:
        return dict(request.query)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = decoded(request.headers, request.body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {"contentType": kind, "base64": base64.b64encode(body).decode()}
    if is_form(request.headers):
        return _form(text)
    stated_text = kind.startswith(_TEXTS) or kind.endswith("+xml")
    try:
        return read_in_parts(text)
    except ProviderFailure:
        if "json" in kind or (not stated_text and text.lstrip().startswith(("{", "["))):
            raise
        return {"contentType": kind, "text": text}


def _form(text: str) -> Mapping[str, Any]:
    """Return a form as an object, a field that comes more than once as a list; `payload=` alone holds JSON."""
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    if list(fields) == ["payload"] and len(fields["payload"]) == 1:
        value = read_json(fields["payload"][0])
        return value if isinstance(value, dict) else {"value": value}
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
