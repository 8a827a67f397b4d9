"""Strict reading of an outbound URL, so that the host checked is the host every later parser sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@\\%:\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][^\x00-\x20\x7f\\#]*)?(?:#[^\x00-\x20\x7f]*)?",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_MAX = 253


class BadTarget(ValueError):
    """The URL is not one we call. The text is safe to show and repeats no part of the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points. `url` is its normal form: ASCII host in lower case, no fragment, no credentials;
    `literal` is the address when the host is one."""

    scheme: str
    host: str
    port: int
    url: str
    literal: IPv4Address | IPv6Address | None

    @property
    def names_loopback(self) -> bool:
        """Whether the host is a loopback address or a name reserved for it (RFC 6761 section 6.3)."""
        if self.literal is not None:
            return self.literal.is_loopback
        name = self.host.removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")


@lru_cache(maxsize=4096)
def parse_target(url: str) -> Target:
    """Read an absolute http or https URL. Raises BadTarget.

    Refused: credentials, backslashes, blanks and control characters, percent-encoded hosts, zone ids, and
    every spelling of an IPv4 address but four decimal numbers (the URL standard's "ends in a number" rule,
    https://url.spec.whatwg.org/#ends-in-a-number-checker). International names become their IDNA form.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise BadTarget("The URL must be absolute, http or https, with a plain host and no credentials")
    scheme = match["scheme"].lower()
    default_port = 443 if scheme == "https" else 80
    port = int(match["port"] or default_port)
    if not 0 < port < 65536:
        raise BadTarget("The URL's port must be 1 to 65535")
    host, literal = _read_host(match["host"])
    authority = f"[{host}]" if ":" in host else host
    if port != default_port:
        authority = f"{authority}:{port}"
    return Target(scheme, host, port, f"{scheme}://{authority}{match['rest'] or '/'}", literal)


def _read_host(written: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    if written.startswith("["):
        return _read_ipv6(written[1:-1])
    host = written.lower() if written.isascii() else _to_ascii(written)
    labels = host.removesuffix(".").split(".")
    if len(host) > _HOST_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadTarget("The URL's host is not a valid name")
    if _NUMBER.fullmatch(labels[-1]):
        return _read_ipv4(host)
    return host, None


def _read_ipv6(written: str) -> tuple[str, IPv6Address]:
    try:
        address = IPv6Address(written)
    except ValueError:
        raise BadTarget("The URL's host is not a valid IPv6 address") from None
    return str(address), address


def _read_ipv4(host: str) -> tuple[str, IPv4Address]:
    try:
        address = IPv4Address(host)
    except ValueError:
        raise BadTarget("An IPv4 address must be written as four decimal numbers") from None
    return host, address


def _to_ascii(written: str) -> str:
    import idna

    try:
        return idna.encode(written.lower()).decode("ascii")
    except idna.IDNAError:
        raise BadTarget("The URL's host is not a valid international name") from None
