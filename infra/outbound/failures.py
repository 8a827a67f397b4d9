"""What went wrong with an outbound call, in words safe to show the tenant who chose the URL."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from domain.core.ports import OutboundFailure
from infra.outbound.addresses import ForbiddenAddress

_CONNECT_TEXT = {
    errno.ECONNREFUSED: "The connection was refused",
    errno.EHOSTUNREACH: "The host cannot be reached",
    errno.ENETUNREACH: "The network cannot be reached",
    errno.ETIMEDOUT: "The host did not accept the connection in time",
}


class ExchangeFailed(Exception):
    """No status line came. `text` is safe to show."""

    def __init__(self, kind: OutboundFailure, text: str) -> None:
        super().__init__(text)
        self.kind: OutboundFailure = kind
        self.text = text


def describe_failure(error: BaseException) -> tuple[OutboundFailure, str] | None:
    """Return the kind and text of a failure, or None for a defect of ours: an error of neither network nor peer.

    The text holds no address, header or body."""
    chain = tuple(_causes(error))
    # The first causes are the exact ones; errors raised from them say less.
    for cause in reversed(chain):
        if isinstance(cause, ForbiddenAddress):
            return "blocked", "The host's address is not public"
        if isinstance(cause, ssl.SSLError):
            return "tls", _tls_text(cause)
        if isinstance(cause, socket.gaierror):
            return "connect", "The host name does not resolve"
    return _describe(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        # Not __context__: that may be an error the caller was already handling.
        seen = seen.__cause__


def _tls_text(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"The certificate was not accepted: {error.verify_message}"
    reason = getattr(error, "reason", None) or "no reason given"
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return "The server does not offer the TLS version required"
    return f"The TLS handshake failed: {reason}"


def _describe(error: BaseException) -> tuple[OutboundFailure, str] | None:
    match error:
        case ExchangeFailed():
            return error.kind, error.text
        case TimeoutError() if error.errno != errno.ETIMEDOUT:
            return "timeout", "No complete answer in time"
        case ValueError():
            return "protocol", "The request cannot be sent: its method, URL or headers are not valid HTTP"
        case OSError():
            return "connect", _CONNECT_TEXT.get(error.errno or 0, "No connection could be made")
        case _:
            return None
