"""The client's address and country, as far as proxies can be trusted."""

from __future__ import annotations

from functools import lru_cache

from domain.core.ip_address import read_ip


def client_ip(forwarded_for: str | None, hops: int) -> str | None:
    """Return the client's address from `X-Forwarded-For`, or None where it is absent, too short or malformed.

    Each proxy appends the address it was called from, so only the last `hops` entries are ours; the client may
    have written the others. The Functions front end (and the development host) is the first hop; each gateway
    before it is one more."""
    if hops < 1 or not forwarded_for:
        return None
    entries = forwarded_for.split(",")
    if len(entries) < hops:
        return None
    return _address(entries[-hops].strip())


@lru_cache(maxsize=1024)
def _address(entry: str) -> str | None:
    address = read_ip(entry)
    return None if address is None else str(address)


def client_country(told: str | None) -> str | None:
    """Return the ISO 3166-1 code that our proxy sent, or None for anything else and for `XX`, which means unknown."""
    code = (told or "").strip().upper()
    return code if len(code) == 2 and code.isascii() and code.isalpha() and code != "XX" else None
