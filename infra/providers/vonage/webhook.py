"""Vonage's two webhook signatures.

JWT (https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks): HS256 with the
signature secret, `payload_hash` is the SHA-256 of the body in hexadecimal (webhooks by POST; a token on a GET covers no
body and is refused). `sig`
(https://developer.vonage.com/en/getting-started/concepts/signing-messages#manually-generate-a-signature): a digest of
`&name=value` over the sorted parameters, `&` and `=` in values replaced by `_`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeGuard

from domain.providers.contract import IncomingRequest, SignatureRefused, VerifiedEvent
from infra.providers._kit.contents import json_of, object_of
from infra.providers._kit.signatures import (
    TOLERANCE_SECONDS,
    check_hmac,
    check_unix_time,
    decode_base64url,
    decode_hex,
    digest_id,
    hmac_digest,
    required_header,
)
from infra.providers._kit.wire import event_type, form_pairs, is_form, moment, signed_json, signed_object

Method = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]


def jwt_event(request: IncomingRequest, secret: str) -> VerifiedEvent:
    """Return the event of a JWT-signed webhook. Raises SignatureRefused, also for a token that covers no body.

    Its id is the digest of the body, which a resent message shares with the first."""
    claims = _claims(required_header(request.headers, "Authorization"), secret, request.received_at)
    stated = claims.get("payload_hash")
    if not request.body or not isinstance(stated, str):
        raise SignatureRefused("The token does not cover the request.")
    if not hmac.compare_digest(hashlib.sha256(request.body).digest(), decode_hex(stated)):
        raise SignatureRefused("The body does not match payload_hash.")
    parameters = _verified_parameters(request)
    digest = digest_id(request.body)
    event = VerifiedEvent(digest, _type(parameters), parameters, _occurred(parameters))
    return replace(event, content_digest=digest, repeat_seconds=TOLERANCE_SECONDS)


def sig_event(request: IncomingRequest, secret: str, method: Method) -> VerifiedEvent:
    """Return the event of a webhook signed with `sig`, by query, form or JSON."""
    parameters = dict(signed_object(_parameters(request)))
    given = parameters.pop("sig", None)
    if not isinstance(given, str) or not given:
        raise SignatureRefused("The parameter sig is missing.")
    check_unix_time(str(parameters.get("timestamp", "")), request.received_at)
    signed = _sorted_parameters(parameters)
    if method == "md5hash":
        expected = hashlib.md5(signed + secret.encode(), usedforsecurity=False).digest()
    else:
        expected = hmac_digest(secret, signed, method)
    if not hmac.compare_digest(expected, decode_hex(given)):
        raise SignatureRefused("The signature does not match.")
    return VerifiedEvent(digest_id(signed), _type(parameters), parameters, _occurred(parameters))


def _claims(header: str, secret: str, now: datetime) -> Mapping[str, Any]:
    """Read an HS256 token.

    JWT libraries would accept several spellings of one signature, and their clock is not the time of receipt."""
    scheme, _, token = header.partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        raise SignatureRefused("The Authorization header is not a bearer token.")
    head, body, given = (decode_base64url(part) for part in parts)
    if _object(head).get("alg") != "HS256":
        raise SignatureRefused("The token is not signed with HS256.")
    check_hmac([secret], f"{parts[0]}.{parts[1]}".encode(), [given])
    claims = _object(body)
    issued, expires = claims.get("iat"), claims.get("exp")
    if not _is_number(issued):
        raise SignatureRefused("The token does not say when it was issued.")
    check_unix_time(str(int(issued)), now)
    if expires is not None and not (_is_number(expires) and now.timestamp() < expires):
        raise SignatureRefused("The token has expired.")
    return claims


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SignatureRefused("The token is not a JSON Web Token.")
    return value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15


def _parameters(request: IncomingRequest) -> Any:
    if request.method == "GET":
        return dict(request.query)
    if is_form(request.headers):
        return dict(form_pairs(request.body))
    return signed_json(request.body)


def _verified_parameters(request: IncomingRequest) -> Mapping[str, Any]:
    """Read a body that a token already vouched for, by itself: nobody vouches for method, query and media type."""
    if request.body.lstrip().startswith(b"{"):
        return object_of(json_of(request))
    return signed_object(dict(form_pairs(request.body)))


def _sorted_parameters(parameters: Mapping[str, Any]) -> bytes:
    parts = []
    for name in sorted(parameters):
        value = parameters[name]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise SignatureRefused("Signed parameters are texts and whole numbers.")
        if "&" in name or "=" in name:
            # Only values are escaped: `a=1&b` with the value 2 would be signed like `a` and `b`.
            raise SignatureRefused("The name of a signed parameter holds & or =.")
        parts.append(f"&{name}={str(value).replace('&', '_').replace('=', '_')}")
    return "".join(parts).encode("utf-8", "surrogatepass")


def _type(parameters: Mapping[str, Any]) -> str:
    if isinstance(parameters.get("status"), str):
        return event_type("status", parameters["status"])
    for name in ("message_type", "type"):
        if isinstance(parameters.get(name), str):
            return event_type("inbound", parameters[name])
    return "event"


def _occurred(parameters: Mapping[str, Any]) -> datetime | None:
    stated = parameters.get("timestamp")
    return moment(int(stated)) if isinstance(stated, str) and stated.isdecimal() else moment(stated)
