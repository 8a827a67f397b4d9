"""Request signatures of object stores: AWS Signature Version 4 and Azure Storage Shared Key. Pure functions."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"

# What Shared Key signs by value, in this order, before the x-ms- headers.
_AZURE_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """An access key; `session_token` with temporary ones. `region` and `service` scope the signature."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    service: str = "s3"
    session_token: str | None = field(default=None, repr=False)


def encoded_query(params: Sequence[tuple[str, str]]) -> str:
    """Write the query as both services canonicalise it: sorted, everything but unreserved characters escaped."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in params)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _host(url: str) -> str:
    """Return the Host header as it goes out: a scheme's own port is left away."""
    parts = urlsplit(url)
    own_port = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(own_port)


def sign_aws(
    credentials: AwsCredentials,
    method: str,
    url: str,
    *,
    query: Sequence[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    payload: bytes = b"",
    now: datetime,
    sign_payload: bool = True,
) -> dict[str, str]:
    """Return the headers to send with a request: those given and the signature's.

    `url` has no query, and its path is escaped as it goes out. `sign_payload` adds `x-amz-content-sha256`, which S3
    demands.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """
    parts = urlsplit(url)
    payload_hash = hashlib.sha256(payload).hexdigest()
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    sent["x-amz-date"] = stamp
    if sign_payload:
        sent["x-amz-content-sha256"] = payload_hash
    if credentials.session_token is not None:
        sent["x-amz-security-token"] = credentials.session_token
    signed = {"host": _host(url), **sent}
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            method,
            parts.path or "/",
            encoded_query(query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            payload_hash,
        )
    )
    scope = f"{stamp[:8]}/{credentials.region}/{credentials.service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


def sign_azure(
    account: str,
    key: bytes,
    method: str,
    url: str,
    *,
    query: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    payload: bytes = b"",
    now: datetime,
) -> dict[str, str]:
    """Return the headers to send with a request, with the signature of Azure Storage's Shared Key among them.

    The path in `url` already holds the account where the address is path-style, as with the emulator; it then stands
    in the signed resource twice.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    sent = {name.lower(): value.strip() for name, value in headers.items()}
    sent["x-ms-date"] = format_datetime(now, usegmt=True)
    by_name = {**sent, "content-length": str(len(payload)) if payload else ""}
    to_sign = "\n".join(
        (
            method,
            *(by_name.get(name, "") for name in _AZURE_HEADERS),
            *(f"{name}:{sent[name]}" for name in sorted(sent) if name.startswith("x-ms-")),
            f"/{account}{urlsplit(url).path}",
            *(f"{name.lower()}:{value}" for name, value in sorted(query)),
        )
    )
    signature = base64.b64encode(hmac.digest(key, to_sign.encode(), "sha256")).decode()
    sent["authorization"] = f"SharedKey {account}:{signature}"
    return sent
