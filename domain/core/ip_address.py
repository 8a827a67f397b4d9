"""IP addresses as people and proxies write them; apart, because keys, incoming webhooks and HTTP read the same ones."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Final

#: ::ffff:0:0/96, in which dual-stack servers write IPv4 addresses.
_MAPPED_BITS: Final = 96


def read_ip(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, also one with a port (`192.0.2.1:54321`, `[2001:db8::1]:54321`); None for any other text.

    ::ffff:192.0.2.1 is its IPv4 address; the zone of fe80::1%eth0 means nothing to others."""
    entry, port = text.strip(), ""
    if entry.startswith("["):
        entry, _, port = entry[1:].partition("]")
        port = port.removeprefix(":")
    elif entry.count(":") == 1:
        entry, _, port = entry.partition(":")
    if port and not (port.isascii() and port.isdecimal()):
        return None
    try:
        address = ip_address(entry.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def read_network(text: str) -> IPv4Network | IPv6Network:
    """Return an address or CIDR range; host bits may be set, and ::ffff:192.0.2.0/120 is 192.0.2.0/24.

    Raises ValueError, also for a range that reaches beyond the IPv4 addresses that it is written with."""
    interface = ip_interface(text.strip())
    mapped = getattr(interface.ip, "ipv4_mapped", None)
    if mapped is None:
        return interface.network
    bits = interface.network.prefixlen - _MAPPED_BITS
    if bits < 0:
        raise ValueError("The range reaches beyond IPv4.")
    return IPv4Network((mapped, bits), strict=False)
