"""Where a request came from, as far as it can be believed."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


def client_ip(forwarded_for: str | None, hops: int) -> str | None:
    """The client's address from `X-Forwarded-For`, to which each proxy appends who spoke to it: what lies left of
    our own `hops` entries is the client's say-so. The Functions front end (and the development host) is the
    first hop; a gateway before it is one more. None when it is absent, too short or malformed."""
    if hops < 1 or not forwarded_for:
        return None
    entries = forwarded_for.split(",")
    if len(entries) < hops:
        return None
    return _address(entries[-hops].strip())


@lru_cache(maxsize=1024)
def _address(entry: str) -> str | None:
    """`192.0.2.1`, `192.0.2.1:54321`, `2001:db8::1` or `[2001:db8::1]:54321` without its port."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        address = ip_address(entry)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def client_country(told: str | None) -> str | None:
    """The ISO 3166-1 code that a proxy of ours tells; None for what is none, and for `XX`, which stands for unknown."""
    code = (told or "").strip().upper()
    return code if len(code) == 2 and code.isascii() and code.isalpha() and code != "XX" else None
