"""What every incoming signature check is made of: strict decoding, constant-time comparison, age, HMAC.

Every function that refuses raises SignatureRefused and nothing else, whatever bytes it is given; the texts never
repeat a secret, an expected value or what was received. Decoding is canonical: a signature has one spelling, so
no changed byte is let through as an equal one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from domain.providers.contract import SignatureRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

TOLERANCE_SECONDS = 300
#: Others belong to a value, where `str.strip` would cut them off.
BLANKS = " \t"

Algorithm = Literal["sha1", "sha256", "sha384", "sha512", "md5"]
Encoding = Literal["hex", "base64"]

_BETWEEN_ENTRIES = re.compile(r"[\s,]+")
_BLANK = re.compile(r"\s+")
_PEM_LINE = re.compile(r"-----(?:BEGIN|END) PUBLIC KEY-----")
_BLANKS = re.compile(r"\s+|\\n|\\r")
#: One spelling for a time: a leading zero could come from what is signed before it, and the time stay the same.
_DIGITS = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_PLAIN_ID = re.compile(r"[A-Za-z0-9._:@+/=~-]{1,200}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+", re.ASCII)


def required_header(headers: Mapping[str, str], name: str) -> str:
    """Return the header's value without the blanks that HTTP allows around it (RFC 9110 section 5.6.3).

    Refuses a missing or empty one. `name` in any case."""
    value = headers.get(name.lower(), "").strip(BLANKS)
    if not value:
        raise SignatureRefused(f"The header {name} is missing.")
    return value


def plain_id(value: str, what: str = "id") -> str:
    """Return an id that comes outside of the body. Refuses characters by which one id could pass for several.

    Such as blanks, which some readers cut off and others do not, and commas, by which proxies join headers."""
    if not _PLAIN_ID.fullmatch(value):
        raise SignatureRefused(f"The {what} is not plain: letters, digits and . _ : @ + / = ~ - only.")
    return value


def required_secret(secret: str | None) -> str:
    """Return the secret. Refuses when it is not set: nothing is accepted without one."""
    if not secret:
        raise SignatureRefused("No webhook secret is configured for this integration.")
    return secret


def decode_hex(text: str) -> bytes:
    """Decode hexadecimal digits, all lower or all upper case, no blanks."""
    if not _HEX.fullmatch(text):
        raise SignatureRefused("The signature is not hexadecimal.")
    return bytes.fromhex(text)


def decode_base64(text: str) -> bytes:
    """Decode Base64: padded, canonical (RFC 4648 section 3.5: no stray bits in the last character)."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("The signature is not valid base64.") from None
    if not decoded or base64.b64encode(decoded).decode() != text:
        raise SignatureRefused("The signature is not valid base64.")
    return decoded


def decode_base64url(text: str) -> bytes:
    """Decode Base64 in the URL alphabet without padding, as in a JWT (RFC 7515 section 2), canonical."""
    if not text.isascii() or "=" in text or "+" in text or "/" in text:
        raise SignatureRefused("The token is not valid base64url.")
    return decode_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def decode(text: str, encoding: Encoding) -> bytes:
    return decode_hex(text) if encoding == "hex" else decode_base64(text)


def decoded_signatures(texts: Iterable[str], encoding: Encoding) -> list[bytes]:
    """Return the signatures that can be read. Refuses when none can; a bad one takes no good one along."""
    found: list[bytes] = []
    refused = SignatureRefused("The signature header does not have the expected form.")
    for text in texts:
        try:
            found.append(decode(text, encoding))
        except SignatureRefused as error:
            refused = error
    if not found:
        raise refused
    return found


def listed_signatures(value: str, prefix: str, encoding: Encoding) -> list[bytes]:
    """Return the readable signatures of a header that lists one or more, by commas or blanks, each after `prefix`.

    Several are there while a secret rotates, and where a proxy joins repeated headers."""
    separators = _BLANK if "," in prefix else _BETWEEN_ENTRIES
    entries = [value] if " " in prefix else separators.split(value)
    fitting = [entry[len(prefix) :].rstrip(",") for entry in entries if entry.startswith(prefix)]
    return decoded_signatures(fitting, encoding)


def repaired_base64(text: str) -> bytes:
    """Decode a key in base64 that people copied: either alphabet, padding optional. Raises ValueError.

    Without padding, stray bits in the last character say that it is no base64 at all."""
    bare = text.rstrip("=")
    if ("+" in bare or "/" in bare) and ("-" in bare or "_" in bare):
        raise ValueError("two alphabets")
    plain = bare.replace("-", "+").replace("_", "/")
    padded = plain + "=" * (-len(plain) % 4)
    decoded = base64.b64decode(padded, validate=True)
    if not decoded or (text == bare and base64.b64encode(decoded).decode() != padded):
        raise ValueError("no base64")
    return decoded


def check_moment(moment: datetime, now: datetime, tolerance_seconds: int = TOLERANCE_SECONDS) -> None:
    """Refuse a moment more than the tolerance before or after `now`."""
    if abs(now - moment) > timedelta(seconds=tolerance_seconds):
        raise SignatureRefused(f"The timestamp is more than {tolerance_seconds} seconds from now.")


def check_unix_time(
    text: str,
    now: datetime,
    *,
    unit: Literal["seconds", "milliseconds"] = "seconds",
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> None:
    """Refuse Unix time, written as plain decimal digits, more than the tolerance before `now`, or too far after it.

    A wider tolerance is for messages that were under way for long; no clock is more than 5 minutes fast."""
    if not _DIGITS.fullmatch(text):
        raise SignatureRefused("The timestamp is not a Unix time.")
    seconds = int(text) / (1000 if unit == "milliseconds" else 1)
    # Compared as numbers: a timestamp far beyond the year 9999 is refused, not an overflow.
    age = now.timestamp() - seconds
    if age > tolerance_seconds:
        raise SignatureRefused(f"The timestamp is more than {tolerance_seconds} seconds from now.")
    if -age > min(tolerance_seconds, TOLERANCE_SECONDS):
        raise SignatureRefused(f"The timestamp is more than {TOLERANCE_SECONDS} seconds from now.")


def parse_rfc3339(text: str) -> datetime:
    """Read a date and time. Refuses one without an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SignatureRefused("The timestamp is not a date and time.") from None
    if moment.tzinfo is None:
        raise SignatureRefused("The timestamp has no offset.")
    return moment.astimezone(UTC)


def hmac_digest(secret: str | bytes, message: bytes, algorithm: Algorithm = "sha256") -> bytes:
    """Return the HMAC. Text secrets are keyed as their UTF-8 bytes."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, message, algorithm)


def check_hmac(
    secrets: Sequence[str | bytes],
    message: bytes,
    given: Iterable[bytes],
    algorithm: Algorithm = "sha256",
) -> None:
    """Accept when any given signature fits any secret (both sides may be rotating). Refuses with no secret."""
    usable = [secret for secret in secrets if secret]
    if not usable:
        raise SignatureRefused("No webhook secret is configured for this integration.")
    expected = [hmac_digest(secret, message, algorithm) for secret in usable]
    # Every pair is compared, so that the time taken says nothing about which one fits.
    matches = [hmac.compare_digest(digest, other) for other in given for digest in expected]
    if not any(matches):
        raise SignatureRefused("The signature does not match.")


def signed_bytes(text: str) -> bytes:
    """Encode a text out of JSON as UTF-8. Halves of characters make bytes that nobody signed, and no error."""
    return text.encode("utf-8", "surrogatepass")


def check_equal(given: str, expected: str, what: str) -> None:
    """Compare texts in constant time. `what` names the value in the refusal."""
    if not hmac.compare_digest(signed_bytes(given), expected.encode()):
        raise SignatureRefused(f"The {what} does not match.")


def check_basic(headers: Mapping[str, str], username: str, password: str) -> None:
    """Check HTTP Basic (RFC 7617), for providers that sign nothing."""
    scheme, _, encoded = required_header(headers, "Authorization").partition(" ")
    if scheme.lower() != "basic":
        raise SignatureRefused("The Authorization header is not Basic.")
    given = decode_base64(encoded.strip())
    if not hmac.compare_digest(given, f"{username}:{required_secret(password)}".encode()):
        raise SignatureRefused("The user name or password does not match.")


def check_ecdsa_p256(public_key: str, message: bytes, signature: bytes) -> None:
    """Check an ECDSA signature (DER) over P-256 with SHA-256.

    `public_key` is a SubjectPublicKeyInfo as PEM or bare base64."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    key = load_p256_public_key(required_secret(public_key))
    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        raise SignatureRefused("The signature does not match.") from None


def load_p256_public_key(text: str) -> EllipticCurvePublicKey:
    """Read a public key, also one whose lines or padding were lost. Refuses anything but a P-256 key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(repaired_base64(_BLANKS.sub("", _PEM_LINE.sub("", text))))
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureRefused("The configured public key cannot be read.") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise SignatureRefused("The configured public key is not a P-256 key.")
    return key


def digest_id(*parts: bytes | str) -> str:
    """Return a stable id of what was signed, for providers that number nothing: 32 hexadecimal characters."""
    hasher = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        hasher.update(len(encoded).to_bytes(8, "big") + encoded)
    return hasher.hexdigest()[:32]


_PLACEHOLDER = re.compile(r"\{(body|timestamp|url|method|id)\}")


def check_github(secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
    """Check `X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>`.

    There is no timestamp: repeats show by the id in `X-GitHub-Delivery`, which is not signed.
    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    given = listed_signatures(required_header(headers, "X-Hub-Signature-256"), "sha256=", "hex")
    check_hmac(secrets, body, given)


def check_slack(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    *,
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> None:
    """Check `X-Slack-Signature: v0=<hex HMAC-SHA256 of v0:timestamp:body>`.

    https://docs.slack.dev/authentication/verifying-requests-from-slack"""
    timestamp = required_header(headers, "X-Slack-Request-Timestamp")
    given = listed_signatures(required_header(headers, "X-Slack-Signature"), "v0=", "hex")
    check_unix_time(timestamp, now, tolerance_seconds=tolerance_seconds)
    check_hmac(secrets, b"v0:" + timestamp.encode() + b":" + body, given)


def check_standard_webhooks(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
    *,
    tolerance_seconds: int = TOLERANCE_SECONDS,
) -> str:
    """Return the message id, when one of the space-separated `v1,` signatures of `id.timestamp.body` fits.

    Secrets are `whsec_` + base64, see `standard_key`.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md"""
    keys = [standard_key(secret) for secret in secrets if secret]
    signed = _STANDARD.check(keys, headers, body, now, tolerance_seconds=tolerance_seconds)
    return signed.id or signed.content


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covered, for whatever is done with the request afterwards.

    `id`: None where the scheme signs none, or where the bytes that were signed could be read as several ids: then
    `content`, their digest, is what repeats have in common."""

    id: str | None
    content: str


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
        secrets: Sequence[str | bytes],
        headers: Mapping[str, str],
        body: bytes,
        now: datetime,
        *,
        url: str = "",
        method: str = "POST",
        tolerance_seconds: int | None = None,
    ) -> Signed:
        """Return what the signature covers. Raises SignatureRefused."""
        tolerance = self.tolerance_seconds if tolerance_seconds is None else tolerance_seconds
        given = listed_signatures(required_header(headers, self.signature_header), self.prefix, self.encoding)
        values = {"body": body, "url": url.encode(), "method": method.upper().encode()}
        if self.timestamp_header is not None:
            timestamp = required_header(headers, self.timestamp_header)
            check_unix_time(timestamp, now, unit=self.timestamp_unit, tolerance_seconds=tolerance)
            values["timestamp"] = timestamp.encode()
        message_id = None
        if self.id_header is not None:
            message_id = plain_id(required_header(headers, self.id_header))
            values["id"] = message_id.encode()
        pieces = _PLACEHOLDER.split(self.template)  # literal, name, literal, name, ..., literal
        signed = b"".join(
            values[piece] if index % 2 else piece.encode() for index, piece in enumerate(pieces)
        )
        check_hmac(secrets, signed, given, self.algorithm)
        if message_id is not None and not _tells_the_id(pieces, message_id, body):
            message_id = None
        return Signed(message_id, digest_id(signed))


_STANDARD = HmacScheme(
    signature_header="webhook-signature",
    encoding="base64",
    prefix="v1,",
    template="{id}.{timestamp}.{body}",
    timestamp_header="webhook-timestamp",
    id_header="webhook-id",
)
#: As many digits as a Unix time within any tolerance has, or more.
_TIME = "[0-9]{9,}"


def _tells_the_id(pieces: Sequence[str], message_id: str, body: bytes) -> bool:
    """Return whether the signed bytes can be read with this id alone, given what stands between the parts.

    Only the joined parts are signed: a request may move the borders between them. Refuses an id, and a body, that
    hold a border themselves."""
    at = next(place for place in range(1, len(pieces), 2) if pieces[place] == "id")
    before, after = pieces[at - 1], pieces[at + 1]
    previous = pieces[at - 2] if at > 1 else None
    following = pieces[at + 2] if at + 2 < len(pieces) else None
    if (previous is not None and not before) or (following is not None and not after):
        return False
    borders = []
    if previous is not None:
        borders.append((_TIME if previous == "timestamp" else "") + re.escape(before))
    if following is not None:
        borders.append(re.escape(after) + (_TIME if following == "timestamp" else ""))
    if any(re.search(border, message_id) for border in borders):
        raise SignatureRefused("The id holds what separates it from the rest that is signed.")
    if pieces[at + 2 : at + 5 : 2] == ["timestamp", "body"]:
        begins_like_a_time = re.compile(f"{_TIME}{re.escape(pieces[at + 3])}".encode())
        if begins_like_a_time.match(body):
            raise SignatureRefused("The body begins like the timestamp that is signed before it.")
    return True


def standard_key(secret: str) -> bytes:
    """Return the key of a Standard Webhooks secret: base64, with or without `whsec_`, padding and a leading `v1,`."""
    try:
        return repaired_base64(secret.strip().removeprefix("v1,").removeprefix("whsec_"))
    except (binascii.Error, ValueError):
        raise SignatureRefused("The configured webhook secret cannot be read.") from None
