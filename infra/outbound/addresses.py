"""Which IP addresses outbound calls may reach: public unicast, nothing else.

The tables follow the IANA special-purpose address registries (RFC 6890 and its updates).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

LOOPBACK = "loopback"


class ForbiddenAddress(OSError):
    """An address that outbound calls may not reach. The text names the kind of address, never the address.

    It is an OSError, so that a connector reports it as a failure to connect."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_IPV4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("127.0.0.0/8", LOOPBACK),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("169.254.0.0/16", "link-local"),
        ("168.63.129.16/32", "Azure platform"),  # the wire server every Azure host can reach
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("0.0.0.0/8", "unspecified"),
        ("192.0.0.0/24", "IETF protocol assignment"),
        ("192.0.2.0/24", "documentation"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("198.18.0.0/15", "benchmarking"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

# Order matters where one range holds another: the narrower comes first.
_IPV6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::1/128", LOOPBACK),
        ("::/128", "unspecified"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "IETF protocol assignment"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("2002::/16", "6to4"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

# RFC 4291 section 2.4: what IANA has not given out for global unicast is reserved.
_IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")


def forbidden_reason(address: IPv4Address | IPv6Address, *, allow_loopback: bool) -> str | None:
    """Why outbound calls may not reach `address`, None when they may.

    IPv6 forms that carry an IPv4 address (mapped, compatible, translated, NAT64, 6to4, Teredo) are refused
    whatever they carry, so that no gateway on the way turns them into a private address. `allow_loopback`
    admits 127.0.0.0/8 and ::1 in their own spelling only.
    """
    reason = _reason_v4(address) if isinstance(address, IPv4Address) else _reason_v6(address)
    return None if allow_loopback and reason == LOOPBACK else reason


def _reason_v4(address: IPv4Address) -> str | None:
    return next((reason for network, reason in _IPV4 if address in network), None)


def _reason_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "scoped"
    listed = next((reason for network, reason in _IPV6 if address in network), None)
    if listed is None and address not in _IPV6_GLOBAL_UNICAST:
        return "reserved"
    return listed
