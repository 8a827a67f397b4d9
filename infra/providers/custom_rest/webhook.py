"""Webhooks of a custom REST API: verified by the declared scheme, and read whatever their body is."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from domain.providers.content import decoded
from domain.providers.contract import IncomingAnswer, IncomingRequest, ProviderFailure, VerifiedEvent
from infra.providers._kit.contents import EVENTS_AT_MOST, events_of, read_in_parts, read_json
from infra.providers._kit.event_grid import event_grid_answer, event_grid_secret
from infra.providers._kit.signatures import (
    BLANKS,
    check_basic,
    check_equal,
    check_github,
    check_hmac,
    check_slack,
    check_standard_webhooks,
    digest_id,
    listed_signatures,
    plain_id,
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
#: Schemes that know the sender by a secret in the request; what comes with it is not signed, and is the sender's.
_KNOWN = ("token", "basic")
_CHALLENGED = ("meta", "github", "hmac", "token")
_TEXTS = ("text/", "application/xml")


@dataclass(frozen=True, slots=True)
class _Preset:
    """Where a vendor's requests hold the type and id; headers are not signed."""

    type_header: str = ""
    id_header: str = ""
    type_pointers: Sequence[str] = ()
    id_pointer: str | None = None


_NO_PRESET = _Preset()
_PRESETS = {
    # https://docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers
    "github": _Preset("X-GitHub-Event", "X-GitHub-Delivery"),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    "shopify": _Preset("X-Shopify-Topic", "X-Shopify-Webhook-Id"),
    "slack": _Preset(type_pointers=("/event/type", "/type"), id_pointer="/event_id"),
    "standardWebhooks": _Preset(type_pointers=("/type",)),
    "meta": _Preset(type_pointers=("/object",)),
}


@dataclass(frozen=True, slots=True)
class _Ids:
    """The id of a request: signed, or out of a header that is not."""

    signed: str | None
    unsigned: str | None

    def numbered(self, position: int) -> _Ids:
        return _Ids(*(f"{name}.{position}" if name else None for name in (self.signed, self.unsigned)))


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
    value = _content(declared, request)
    if declared.scheme == "slack" and _is_url_verification(value):
        answer = json.dumps({"challenge": value["challenge"]}).encode()
        return IncomingAnswer(body=answer, content_type="application/json")
    preset = _PRESETS.get(declared.scheme, _NO_PRESET)
    named = request.headers.get((declared.id_header or preset.id_header).lower(), "").strip(BLANKS)
    ids = _Ids(signed_id, plain_id(named) if named and not signed_id else None)
    if isinstance(value, list) and 0 < len(value) <= _ELEMENTS_MAX:
        elements = (
            _element(declared, entry, request, ids.numbered(position)) for position, entry in enumerate(value)
        )
        return IncomingAnswer(tuple(chain.from_iterable(elements)))
    digest = (
        digest_id(request.body, request.url) if _is_by_query(declared, request) else digest_id(request.body)
    )
    whole = _event(declared, value, digest, request=request, ids=ids)
    return IncomingAnswer((whole,))


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
        case "shopify":
            given = listed_signatures(required_header(headers, "X-Shopify-Hmac-Sha256"), "", "base64")
            check_hmac([secret], body, given)
        case "slack":
            check_slack([secret], headers, body, now, tolerance_seconds=tolerance)
        case "eventGrid":
            check_equal(event_grid_secret(request), secret, "secret")
        case "token":
            check_equal(required_header(headers, declared.header), secret, "token")
        case "basic":
            check_basic(headers, declared.username, secret)
        case "hmac":
            scheme = declared.hmac_scheme()
            signed = scheme.check([secret], headers, body, now, url=request.url, method=request.method)
            return None if scheme.id_header is None else signed.id or signed.content
    return None


def _is_by_query(declared: WebhookScheme, request: IncomingRequest) -> bool:
    """Return whether the query is the content: nothing else came, and it is signed, or the sender is known by a secret.

    A signature of the body alone says nothing about a query, and one of no body fits every query."""
    if request.method != "GET" or request.body:
        return False
    return declared.scheme in _KNOWN or (declared.scheme == "hmac" and "{url}" in declared.template)


def _element(
    declared: WebhookScheme, entry: Any, request: IncomingRequest, ids: _Ids
) -> tuple[VerifiedEvent, ...]:
    def read(element: Any) -> VerifiedEvent:
        digest = digest_id(signed_bytes(json.dumps(element, sort_keys=True)))
        return _event(declared, element, digest, request=request, ids=ids)

    return events_of([entry], read, objects_only=False)


def _event(
    declared: WebhookScheme, value: Any, digest: str, *, request: IncomingRequest, ids: _Ids
) -> VerifiedEvent:
    preset = _PRESETS.get(declared.scheme, _NO_PRESET)
    named_id = _named(value, declared.event_id_pointer or preset.id_pointer) or ids.signed
    named_type = _named(value, declared.event_type_pointer) or (
        None if declared.type_header else _first(value, preset.type_pointers)
    )
    header_type = request.headers.get((declared.type_header or preset.type_header).lower())
    unsigned = [
        name
        for name, body, header in (("id", named_id, ids.unsigned), ("type", named_type, header_type))
        if not body and header
    ]
    data = value if isinstance(value, dict) else {"value": value}
    return VerifiedEvent(
        named_id or ids.unsigned or digest,
        event_type(named_type or header_type or "event"),
        data,
        content_digest=None if named_id else digest,
        repeat_seconds=declared.tolerance_seconds if _signs_a_timestamp(declared) else None,
        unsigned=unsigned,
    )


def _signs_a_timestamp(declared: WebhookScheme) -> bool:
    return declared.scheme == "slack" or (declared.scheme == "hmac" and declared.timestamp_header is not None)


def _first(value: Any, pointers: Sequence[str]) -> str | None:
    return next((found for found in (_named(value, pointer) for pointer in pointers) if found), None)


def _named(value: Any, pointer: str | None) -> str | None:
    found = value_at(value, pointer) if pointer is not None else None
    named = isinstance(found, str | int) and not isinstance(found, bool) and found != ""
    return str(found) if named else None


def _content(declared: WebhookScheme, request: IncomingRequest) -> Any:
    """Return the body as a value of JSON: a form as an object, texts as `{"text"}`, other bytes as `{"base64"}`.

    A body that is a JSON object or list is read as that whatever its media type, which no scheme signs, says.
    Raises ProviderFailure (`malformed`) for a body that says it is JSON and is not."""
    if _is_by_query(declared, request):
        return dict(request.query)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = decoded(request.headers, request.body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {"contentType": kind, "base64": base64.b64encode(body).decode()}
    looks_like_json = text.lstrip().startswith(("{", "["))
    if is_form(request.headers) and not looks_like_json:
        return _form(text)
    stated_text = kind.startswith(_TEXTS) or kind.endswith("+xml")
    try:
        return read_in_parts(text)
    except ProviderFailure:
        if is_form(request.headers):
            return _form(text)
        if "json" in kind or (not stated_text and looks_like_json):
            raise
        return {"contentType": kind, "text": text}


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=EVENTS_AT_MOST)
    except ValueError:
        raise ProviderFailure("malformed", f"The form has more than {EVENTS_AT_MOST:,} fields.") from None


def _form(text: str) -> Mapping[str, Any]:
    """Return a form as an object, a field that comes more than once as a list; `payload=` alone holds JSON."""
    fields: dict[str, list[str]] = {}
    for name, value in _pairs(text):
        fields.setdefault(name, []).append(value)
    if list(fields) == ["payload"] and len(fields["payload"]) == 1:
        value = read_json(fields["payload"][0])
        return value if isinstance(value, dict) else {"value": value}
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
