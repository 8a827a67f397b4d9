"""Time limits that azure-servicebus (7.15) lacks, for a service that takes connections and says nothing.

The SDK waits for it without end: in TLS, in SASL and in AMQP's first frames."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from operator import attrgetter
from typing import Any

_socket_of = attrgetter("_handler._connection._transport.sock")


def cut(handler: Any) -> None:
    """Shut the socket of a sender or receiver, so that whatever reads from it fails. From any thread.

    Its `close` would not do: it waits for the lock that the read holds."""
    with suppress(AttributeError, OSError):
        _socket_of(handler).shutdown(socket.SHUT_RDWR)


def tls(seconds: float) -> ssl.SSLContext:
    """Return the SDK's own verification, with a handshake that fails when one read takes longer than `seconds`.

    While the handshake lasts there is no socket to `cut`."""
    import certifi

    context = _InTime(ssl.PROTOCOL_TLS_CLIENT)
    context.handshake_seconds = seconds
    context.load_verify_locations(certifi.where())
    return context


class _InTime(ssl.SSLContext):
    handshake_seconds: float

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(self.handshake_seconds)
        return super().wrap_socket(sock, *arguments, **options)
