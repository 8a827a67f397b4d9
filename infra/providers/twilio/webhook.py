"""Twilio's webhook signature and events.

https://www.twilio.com/docs/usage/webhooks/webhooks-security: base64 HMAC-SHA1, keyed with the auth token, of the URL
followed by each form parameter's name and value in the order of the names; for other bodies of the URL alone, whose
query holds `bodySHA256`. Twilio signs the URL with or without the port, so both are tried.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any

from domain.providers.contract import IncomingRequest, SignatureRefused, VerifiedEvent
from infra.providers._kit.contents import elements_of, events_of, id_of
from infra.providers._kit.signatures import (
    Algorithm,
    decode_base64,
    decode_hex,
    digest_id,
    hmac_digest,
    required_header,
    required_secret,
)
from infra.providers._kit.wire import event_type, form_pairs, is_form, moment

_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_PORTS = {"http": "80", "https": "443"}


def check_twilio_signature(request: IncomingRequest, auth_token: str, shared_secret: str | None) -> None:
    """Raise SignatureRefused unless Twilio signed the request.

    A header of Twilio's says when a SharedKey signed; it chooses between our own keys and two algorithms, and never
    skips the check."""
    given = decode_base64(required_header(request.headers, "X-Twilio-Signature"))
    suffix = _signed_suffix(request)
    settings = request.headers.get("x-twilio-webhooks-signature-settings")
    secret = required_secret(shared_secret if settings else auth_token)
    algorithm = _algorithm(settings or "")
    fits = [
        hmac.compare_digest(hmac_digest(secret, url.encode() + suffix, algorithm), given)
        for url in _spellings(request.url)
    ]
    if not any(fits):
        raise SignatureRefused("The signature does not match.")


def _algorithm(settings: str) -> Algorithm:
    named = dict(part.strip().partition("=")[::2] for part in settings.split(","))
    match named.get("algorithm", "HMAC_SHA1").upper():
        case "HMAC_SHA1":
            return "sha1"
        case "HMAC_SHA256":
            return "sha256"
        case _:
            raise SignatureRefused("The signature algorithm is unknown.")


def twilio_events(request: IncomingRequest) -> Sequence[VerifiedEvent]:
    """Return the events of a verified request.

    They carry no id of their own unless they are CloudEvents, so the id is a digest of what was signed, in its
    signed order: the same parameters in another order are a repeat."""
    if is_form(request.headers):
        # Of a name that comes more than once, the same value whatever the order, which is not signed.
        parameters = dict(sorted(form_pairs(request.body)))
        return [_named(digest_id(_signed_suffix(request)), parameters)]
    if request.method == "GET" and not request.body:
        return [_named(digest_id(request.url), request.query)]
    return events_of(elements_of(request), _streamed)


def _streamed(event: Mapping[str, Any]) -> VerifiedEvent:
    kind = event_type(str(event.get("type") or event.get("EventType") or "event"))
    return VerifiedEvent(id_of(event, "id"), kind, event, moment(event.get("time")))


def _named(event_id: str, parameters: Mapping[str, str]) -> VerifiedEvent:
    for name, subject in (("MessageStatus", "message"), ("CallStatus", "call"), ("SmsStatus", "message")):
        if parameters.get(name):
            kind = event_type(subject, parameters[name])
            return VerifiedEvent(event_id, kind, parameters, content_digest=event_id)
    kind = event_type(parameters.get("EventType", "event"))
    return VerifiedEvent(event_id, kind, parameters, content_digest=event_id)


def _signed_suffix(request: IncomingRequest) -> bytes:
    """Return what is signed after the URL. Refuses a body that the signature does not cover."""
    if is_form(request.headers):
        if not request.body:
            raise SignatureRefused("The form is empty.")
        values: dict[str, set[str]] = {}
        for name, value in form_pairs(request.body):
            values.setdefault(name, set()).add(value)
        return "".join(name + value for name in sorted(values) for value in sorted(values[name])).encode()
    stated = request.query.get("bodySHA256")
    if request.method == "GET" and stated is None and not request.body:
        return b""
    if stated is None:
        raise SignatureRefused("The URL carries no bodySHA256.")
    if not hmac.compare_digest(hashlib.sha256(request.body).digest(), decode_hex(stated)):
        raise SignatureRefused("The body does not match bodySHA256.")
    return b""


def _spellings(url: str) -> set[str]:
    """Return the URL without its port, and with it or the default one."""
    match = _URL.fullmatch(url)
    if match is None:
        return {url}
    scheme, authority, rest = match.groups()
    bare = re.sub(r":[0-9]*$", "", authority)
    default = authority if bare != authority else f"{authority}:{_PORTS[scheme.lower()]}"
    return {f"{scheme}://{bare}{rest}", f"{scheme}://{default}{rest}"}
