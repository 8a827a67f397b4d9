"""Signature schemes that belong to no single provider: GitHub, Slack, Standard Webhooks, and a declared HMAC.

Each takes the secrets in use, the lower-case headers, the raw body and the time of receipt, and raises
SignatureRefused or returns.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from domain.providers.contract import SignatureRefused
from infra.providers._kit.signatures import (
    TOLERANCE_SECONDS,
    Algorithm,
    Encoding,
    check_hmac,
    check_unix_time,
    decode,
    decode_base64,
    decode_hex,
    required_header,
)

_PLACEHOLDER = re.compile(r"\{(body|timestamp|url|method|id)\}")


def check_github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    """`X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>`; no timestamp: repeats show by the id in
    `X-GitHub-Delivery`, which is not signed.
    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    given = _after("sha256=", required_header(headers, "X-Hub-Signature-256"))
    check_hmac(secrets, body, [decode_hex(given)])


def check_slack(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """`X-Slack-Signature: v0=<hex HMAC-SHA256 of v0:timestamp:body>`.
    https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    timestamp = required_header(headers, "X-Slack-Request-Timestamp")
    given = _after("v0=", required_header(headers, "X-Slack-Signature"))
    check_unix_time(timestamp, now)
    check_hmac(secrets, b"v0:" + timestamp.encode() + b":" + body, [decode_hex(given)])


def check_standard_webhooks(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """The message id, when one of the space-separated `v1,` signatures of `id.timestamp.body` fits. Secrets are
    `whsec_` + base64. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    message_id = required_header(headers, "webhook-id")
    timestamp = required_header(headers, "webhook-timestamp")
    listed = required_header(headers, "webhook-signature").split(" ")
    check_unix_time(timestamp, now)
    given = [decode_base64(entry[3:]) for entry in listed if entry.startswith("v1,")]
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    check_hmac([_standard_key(secret) for secret in secrets if secret], signed, given)
    return message_id


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """An HMAC a custom integration declares.

    `template` says what is signed, with `{body}`, `{timestamp}`, `{id}`, `{url}` and `{method}`; it must hold
    `{body}`, and `{timestamp}` when `timestamp_header` is set. `prefix` stands before the signature
    (`sha256=`). Without a timestamp header the receiver must recognise repeats itself."""

    signature_header: str
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    template: str = "{body}"
    timestamp_header: str | None = None
    timestamp_unit: Literal["seconds", "milliseconds"] = "seconds"
    id_header: str | None = None
    tolerance_seconds: int = TOLERANCE_SECONDS

    def __post_init__(self) -> None:
        names = set(_PLACEHOLDER.findall(self.template))
        if "body" not in names:
            raise ValueError("The template must sign {body}.")
        if (self.timestamp_header is not None) != ("timestamp" in names):
            raise ValueError("A timestamp header and {timestamp} in the template need each other.")
        if (self.id_header is not None) != ("id" in names):
            raise ValueError("An id header and {id} in the template need each other.")

    def check(
        self,
        secrets: Sequence[str],
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
        *,
        url: str = "",
        method: str = "POST",
    ) -> None:
        given = _after(self.prefix, required_header(headers, self.signature_header))
        values = {"body": body, "url": url.encode(), "method": method.upper().encode()}
        if self.timestamp_header is not None:
            timestamp = required_header(headers, self.timestamp_header)
            check_unix_time(
                timestamp, now, unit=self.timestamp_unit, tolerance_seconds=self.tolerance_seconds
            )
            values["timestamp"] = timestamp.encode()
        if self.id_header is not None:
            values["id"] = required_header(headers, self.id_header).encode("utf-8", "surrogateescape")
        check_hmac(secrets, self._signed(values), [decode(given, self.encoding)], self.algorithm)

    def _signed(self, values: Mapping[str, bytes]) -> bytes:
        pieces = _PLACEHOLDER.split(self.template)  # literal, name, literal, name, ..., literal
        return b"".join(values[piece] if index % 2 else piece.encode() for index, piece in enumerate(pieces))


def _after(prefix: str, value: str) -> str:
    if not value.startswith(prefix):
        raise SignatureRefused("The signature header does not have the expected form.")
    return value[len(prefix) :]


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("The configured webhook secret cannot be read.") from None
