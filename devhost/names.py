"""Under which names the host may be addressed, and from which pages a browser may call it.

A page somewhere on the internet can have the browser of whoever develops call 127.0.0.1: by naming it, or by a name of
its own that it lets resolve to 127.0.0.1 (DNS rebinding). In the first case the browser says where the page is from
(`Origin`), in the second the name stands in `Host`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


class OwnNames:
    """The names of this host: localhost, any address written in digits, and `more` (host names or URLs)."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        self._names = {"localhost"} | {name for name in map(_name_of, more) if name}

    def know(self, host: str | None) -> bool:
        """Whether a request with this `Host` was meant for us. Without one, as in HTTP/1.0, no browser sent it."""
        if host is None:
            return True
        name = _name_of(f"//{host}")
        return name is not None and (name in self._names or name.endswith(".localhost") or _is_address(name))

    def trust(self, origin: str | None, host: str | None) -> bool:
        """Whether a request that says it comes from a page of `origin` may be answered: from our own pages alone."""
        if origin is None:
            return True
        netloc = _netloc_of(origin)
        return netloc is not None and netloc == (host or "").lower()


def _name_of(text: str) -> str | None:
    """Return the host name of a URL or of `//host:port`, a bare name as it is; None for what is neither."""
    try:
        name = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None
    return name.rstrip(".") if name else None


def _netloc_of(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
