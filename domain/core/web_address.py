"""The addresses that the product calls: how one is read, and which are acceptable.

One rule for webhooks (BR-WH-01), configurations (section 7.1), providers, the token issuer, Azure OpenAI and every
outbound call, so that what is accepted when it is entered can be called later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_URL = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*):)?//(?P<host>\[[0-9a-f:.]+\]|[^\s/?#@\\%:\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][^\x00-\x20\x7f\\#]*)?(?P<fragment>#[^\x00-\x20\x7f\\]*)?",
    re.IGNORECASE,
)
#: What DNS carries and receivers have: underscores, and hyphens anywhere, such as in `ab--cd` and `xn--ls8h`.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
#: The full stops of IDNA (RFC 3490 section 3.1).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: No name has more than 253 letters; some of an international one may come to nothing.
_HOST_CHARACTERS = 1_000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))


class BadAddress(ValueError):
    """The product does not call the address. The text is safe to show, repeats none of it and has no full stop."""


class NotHttps(BadAddress):
    """The address is well formed, but its scheme is not allowed for its host."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An absolute http or https URL, taken apart.

    - `url` is its normal form: ASCII host in lower case, no credentials, no fragment.
    - `literal` is the IP address when the host is one."""

    scheme: str
    host: str
    port: int
    url: str
    literal: IPv4Address | IPv6Address | None


@lru_cache(maxsize=4096)
def require_https(url: str, *, allow_loopback: bool) -> WebAddress:
    """Return the address if it is https, or http to this machine where `allow_loopback`.

    The only names of this machine are `localhost`, `127.0.0.1` and `[::1]`. Raises BadAddress for an address that is
    not well formed or has a fragment, NotHttps for another scheme."""
    address = read_address(url)
    if "#" in url:
        raise BadAddress("The URL must not carry a fragment")
    if address.scheme != "https" and not (allow_loopback and address.host in _LOOPBACK):
        raise NotHttps("The URL must be https (http only to localhost, in development)")
    return address


def read_address(url: str) -> WebAddress:
    """Read an absolute http or https URL, so that the host checked is the host every later parser sees.

    International names become their IDNA form. Raises NotHttps for another scheme, BadAddress for:
    - credentials, backslashes, blanks, control and other unprintable characters;
    - percent-encoded hosts and zone ids;
    - every spelling of an IPv4 address but four decimal numbers (the URL standard's "ends in a number" rule,
      https://url.spec.whatwg.org/#ends-in-a-number-checker)."""
    match = _URL.fullmatch(url)
    if match is None or not url.isprintable():
        raise BadAddress("The URL must be absolute, with a plain host and no user name or password")
    scheme = (match["scheme"] or "").lower()
    default_port = _DEFAULT_PORTS.get(scheme)
    port = int(match["port"] or default_port or 1)
    if not 0 < port < 65536:
        raise BadAddress("The URL's port must be 1 to 65535")
    host, literal = _read_host(match["host"])
    if default_port is None:
        raise NotHttps("The URL must be https")
    authority = f"[{host}]" if ":" in host else host
    if port != default_port:
        authority = f"{authority}:{port}"
    return WebAddress(scheme, host, port, f"{scheme}://{authority}{match['rest'] or '/'}", literal)


def _read_host(written: str) -> tuple[str, IPv4Address | IPv6Address | None]:
    if written.startswith("["):
        return _read_ipv6(written[1:-1])
    if len(written) > _HOST_CHARACTERS:
        raise BadAddress("The URL's host is not a valid name")
    host = written.lower() if written.isascii() else _to_ascii(written)
    labels = host.removesuffix(".").split(".")
    # Resolvers refuse a name that begins with a hyphen, as programs take it for an option.
    if len(host) > 253 or host.startswith("-") or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadAddress("The URL's host is not a valid name")
    if _NUMBER.fullmatch(labels[-1]):
        return _read_ipv4(host)
    return host, None


def _read_ipv6(written: str) -> tuple[str, IPv6Address]:
    try:
        address = IPv6Address(written)
    except ValueError:
        raise BadAddress("The URL's host is not a valid IPv6 address") from None
    return str(address), address


def _read_ipv4(host: str) -> tuple[str, IPv4Address]:
    try:
        address = IPv4Address(host)
    except ValueError:
        raise BadAddress("An IPv4 address must be written as four decimal numbers") from None
    return host, address


def _to_ascii(written: str) -> str:
    return ".".join(
        label.lower() if label.isascii() else _to_a_label(label) for label in _DOTS.split(written)
    )


def _to_a_label(written: str) -> str:
    """Return the A-label of an international label: by IDNA 2008, or for what that forbids by the URL standard.

    The standard takes emoji and other symbols (https://url.spec.whatwg.org/#concept-domain-to-ascii). A label that it
    maps to plain ASCII is refused, since the name that is read is another than the one written."""
    import idna

    try:
        return idna.alabel(written.lower()).decode("ascii")
    except idna.IDNAError:
        pass
    try:
        mapped = idna.uts46_remap(written, std3_rules=False, transitional=False)
    except idna.IDNAError:
        mapped = ""
    if not mapped or mapped.isascii() or "." in mapped or mapped.startswith("xn--"):
        raise BadAddress("The URL's host is not a valid international name")
    return "xn--" + mapped.encode("punycode").decode("ascii")
