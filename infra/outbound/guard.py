"""The address guard (SSRF): applied to literals, to every answer of the resolver, and to every socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from infra.outbound.addresses import ForbiddenAddress, forbidden_reason
from infra.outbound.lookups import LookupThreads

AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
"""One answer of `socket.getaddrinfo`: family, type, protocol, canonical name, socket address."""

Lookup = Callable[..., Sequence[AddressInfo]]
"""`socket.getaddrinfo`, or a double with its signature."""


class AddressGuard:
    """Refuses addresses that are not public. `allow_loopback` is for development."""

    def __init__(self, *, allow_loopback: bool, lookup: Lookup = socket.getaddrinfo) -> None:
        self._allow_loopback = allow_loopback
        self._lookup = lookup
        # Its own threads: names that answer slowly must not hold up the event loop's shared executor.
        self._threads = LookupThreads()

    def admit(self, address: IPv4Address | IPv6Address) -> None:
        """Refuse an address that is not public. Raises ForbiddenAddress."""
        reason = forbidden_reason(address, allow_loopback=self._allow_loopback)
        if reason is not None:
            raise ForbiddenAddress(reason)

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Sequence[AddressInfo]:
        """Return the host's addresses, all of them public: one that is not refuses the name.

        Raises ForbiddenAddress; OSError (socket.gaierror) when the name does not resolve."""
        answers = await self._threads.ask(self._ask, host, port, family)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        for answer in answers:
            self.admit(_address_of(answer))
        return answers

    def open_socket(self, answer: AddressInfo) -> socket.socket:
        """Open the socket for one connection attempt, once the very address to be connected is admitted.

        No way to the network leads past this check, whoever resolved the address."""
        self.admit(_address_of(answer))
        family, kind, protocol, _, _ = answer
        return socket.socket(family, kind, protocol)

    def _ask(self, host: str, port: int, family: int) -> Sequence[AddressInfo]:
        # AI_ADDRCONFIG leaves out the family this machine has no address of.
        return self._lookup(
            host, port, family=family, type=socket.SOCK_STREAM, flags=getattr(socket, "AI_ADDRCONFIG", 0)
        )


def _address_of(answer: AddressInfo) -> IPv4Address | IPv6Address:
    try:
        return ip_address(answer[4][0])
    except ValueError:
        raise ForbiddenAddress("unreadable") from None
