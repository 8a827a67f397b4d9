"""CalDAV discovery (RFC 4791, RFC 5397, RFC 6764) over ProviderHttp."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit
from xml.etree.ElementTree import Element, ParseError, SubElement, fromstring
from xml.sax.saxutils import unescape

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from infra.providers._kit.paging import at_own_host
from infra.providers._kit.wire import basic, markup_of, xml_document

T = TypeVar("T")

_DAV = "{DAV:}"
_CALDAV = "{urn:ietf:params:xml:ns:caldav}"
_COLLECTION = "<D:resourcetype/><D:displayname/><D:sync-token/><C:supported-calendar-component-set/>"
_REDIRECTS = (301, 302, 307, 308)
_HOPS_MAX = 3
_ROOT = re.compile(r"<(?:[\w.-]+:)?multistatus\b[^<>]*>")
_ROOT_END = re.compile(r"</(?:[\w.-]+:)?multistatus\s*>\s*$")
_RESPONSE = re.compile(r"<(?P<end>/?)(?P<name>(?:[\w.-]+:)?response)(?:\s[^<>]*)?>")
_HREF = re.compile(r"<((?:[\w.-]+:)?href)\b[^<>]*>([^<>]*)</\1\s*>")
#: caldav.icloud.com sends each user to a host such as p01-caldav.icloud.com. A common parent alone says nothing:
#: that of two strangers may be co.uk.
_SPREADING = (".icloud.com",)


@dataclass(frozen=True, slots=True)
class CalendarCollection:
    """A calendar. `sync_token` (RFC 6578) is None where the server has none."""

    url: str
    name: str
    sync_token: str | None = None


@dataclass(frozen=True, slots=True)
class CalDavAccess:
    """The server a user names and the credentials for it.

    Credentials leave for the same origin, for the same host over https, between the hosts of a provider that is
    known to spread its users, and nowhere else."""

    connection: Connection
    server_url: str
    username: str
    password: str = field(repr=False)

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        also: tuple[int, ...] = (),
    ) -> ProviderResponse:
        """Send a request with Basic credentials; `also` are further statuses that are an answer.

        Raises ProviderFailure (malformed) for an address out of bounds."""
        return await self.connection.http.expect(
            self._with_credentials(method, url, body, headers or {}),
            *(200, 201, 204, 207, *_REDIRECTS, *also),
        )

    def request(self, method: str, url: str, body: bytes | None = None, **headers: str) -> ProviderRequest:
        """Return a request with the credentials; `if_none_match` becomes If-None-Match.

        Raises ProviderFailure (malformed) for an address out of bounds."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._with_credentials(method, url, body, named)

    async def principal(self) -> str:
        """Find the address of the user's principal. Redirects are followed by hand: the shared client follows none."""
        url = f"{self.server_url}/"
        found = await self._principal_at(url)
        if found is None and urlsplit(url).path == "/":
            found = await self._principal_at(urljoin(url, "/.well-known/caldav"))
        if found is None:
            raise ProviderFailure("malformed", "The address is not that of a CalDAV server.")
        return found

    async def calendars(self, principal: str) -> list[CalendarCollection]:
        """Return the calendars in the principal's home that take events, and no lists of tasks or journals."""
        answer = await self._propfind(principal, "<C:calendar-home-set/>", depth="0")
        home = await self._read(answer, _href_in, f"{_CALDAV}calendar-home-set")
        if home is None:
            raise ProviderFailure("malformed", "The CalDAV server names no calendar home.")
        home = resolved(self.server_url, principal, home)
        listed = await self._propfind(home, _COLLECTION, depth="1")
        return await self._read(listed, _collections, self.server_url, home)

    async def _principal_at(self, url: str) -> str | None:
        for _ in range(_HOPS_MAX):
            try:
                answer = await self._propfind(url, "<D:current-user-principal/>", depth="0")
            except ProviderFailure as failure:
                if failure.kind == "rejected":
                    return None
                raise
            if answer.status not in _REDIRECTS:
                href = await self._read(answer, _href_in, f"{_DAV}current-user-principal")
                return resolved(self.server_url, url, href) if href else None
            url = resolved(self.server_url, url, answer.headers.get("location", ""))
        return None

    async def _read(self, answer: ProviderResponse, task: Callable[..., T], *arguments: Any) -> T:
        return await self.connection.read(len(answer.body), task, answer, *arguments)

    async def _propfind(self, url: str, properties: str, *, depth: str) -> ProviderResponse:
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<D:propfind xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
            f"<D:prop>{properties}</D:prop></D:propfind>"
        )
        headers = {"depth": depth, "content-type": "application/xml; charset=utf-8"}
        return await self.send("PROPFIND", url, body=body.encode(), headers=headers)

    def _with_credentials(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> ProviderRequest:
        if not _within(self.server_url, url):
            raise ProviderFailure("malformed", "The CalDAV server names an address on a foreign host.")
        carried = {"authorization": basic(self.username, self.password), **headers}
        return ProviderRequest(method, url, headers=carried, body=body)


def multistatus(answer: ProviderResponse) -> Element:
    """Return an answer about several resources (RFC 4918 section 13). Raises ProviderFailure (malformed).

    Where one resource's part is no XML the others are read; that one keeps its address only."""
    try:
        root = xml_document(answer)
    except ProviderFailure:
        root = _salvaged(answer)
    if root.tag != f"{_DAV}multistatus":
        raise ProviderFailure(
            "malformed", "The CalDAV server's answer is no multistatus.", status=answer.status
        )
    return root


def _salvaged(answer: ProviderResponse) -> Element:
    """Read each resource's part on its own. Raises ProviderFailure (malformed) when the answer has no end."""
    text = markup_of(answer)
    head = _ROOT.search(text)
    end = _ROOT_END.search(text)
    if head is None or end is None:
        raise ProviderFailure("malformed", "The provider's answer is not valid XML.", status=answer.status)

    def read(part: str) -> Element | None:
        try:
            return fromstring(f"{head[0]}{part}{end[0]}")  # noqa: S314 - no DTD reaches the parser
        except (ValueError, ParseError, RecursionError):
            return None

    inner = text[head.end() : end.start()]
    parts, rest = _parts_of(inner)
    root = read(rest)
    root = root if root is not None else Element(f"{_DAV}multistatus")
    for written in parts:
        part = read(written)
        if part is not None:
            root.extend(part)
            continue
        odd = SubElement(root, f"{_DAV}response")
        for _, href in _HREF.findall(written):
            SubElement(odd, f"{_DAV}href").text = unescape(href)
    return root


def _parts_of(inner: str) -> tuple[list[str], str]:
    """Return the parts of an answer, each about one resource, and what is around them; in one pass."""
    parts: list[str] = []
    around: list[str] = []
    at, begun = 0, None
    for tag in _RESPONSE.finditer(inner):
        if begun is None and not tag["end"] and not tag[0].endswith("/>"):
            around.append(inner[at : tag.start()])
            begun = tag
        elif begun is not None and tag["end"] and tag["name"] == begun["name"]:
            parts.append(inner[begun.start() : tag.end()])
            at, begun = tag.end(), None
    if begun is not None:
        at = begun.start()
    around.append(inner[at:])
    return parts, "".join(around)


def access_of(connection: Connection) -> CalDavAccess | None:
    """Return the way to the CalDAV server, None for a published calendar."""
    configuration = connection.configuration
    if configuration.server_url is None:
        return None
    return CalDavAccess(
        connection, configuration.server_url, configuration.username or "", configuration.password or ""
    )


async def find_calendar(access: CalDavAccess, principal: str | None = None) -> CalendarCollection:
    """Return the configured CalDAV calendar of the principal, the first one when none is named."""
    wanted = access.connection.configuration.calendar
    for calendar in await access.calendars(principal or await access.principal()):
        if wanted is None or calendar.name == wanted:
            return calendar
    raise ProviderFailure(
        "rejected",
        "The account has no calendar that takes events."
        if wanted is None
        else "The account has no calendar of that name that takes events.",
    )


def resolved(server: str, base: str, href: str) -> str:
    """Return the address of a reference; at the server's own host with the server's scheme and port.

    A server behind a proxy may not know them. Raises ProviderFailure (malformed)."""
    try:
        address = urljoin(base, href)
        return at_own_host(server, address) or address
    except ValueError:
        raise ProviderFailure("malformed", "The CalDAV server names an address that is none.") from None


def _within(server: str, url: str) -> bool:
    own, other = urlsplit(server), urlsplit(url)
    if (own.scheme, own.netloc.lower()) == (other.scheme, other.netloc.lower()):
        return True
    if other.scheme != "https" or other.port is not None or "@" in other.netloc:
        return False
    hosts = (own.hostname or "", other.hostname or "")
    return hosts[0] == hosts[1] or any(all(host.endswith(name) for host in hosts) for name in _SPREADING)


def _href_in(answer: ProviderResponse, name: str) -> str | None:
    found = xml_document(answer).find(f".//{name}/{_DAV}href")
    return found.text.strip() if found is not None and found.text and found.text.strip() else None


def _takes_events(response: Element) -> bool:
    """Return False where a collection names the components that it takes, and no VEVENT (RFC 4791 section 5.2.3)."""
    components = response.findall(f".//{_CALDAV}supported-calendar-component-set/{_CALDAV}comp")
    names = {component.get("name", "").upper() for component in components}
    return not names or "VEVENT" in names


def _collections(answer: ProviderResponse, server: str, home: str) -> list[CalendarCollection]:
    return [
        _collection(server, home, response)
        for response in multistatus(answer).findall(f"{_DAV}response")
        if response.find(f".//{_DAV}resourcetype/{_CALDAV}calendar") is not None and _takes_events(response)
    ]


def _collection(server: str, base: str, response: Element) -> CalendarCollection:
    href = (response.findtext(f"{_DAV}href") or "").strip()
    return CalendarCollection(
        url=resolved(server, base, href),
        name=(response.findtext(f".//{_DAV}displayname") or "").strip() or href,
        sync_token=(response.findtext(f".//{_DAV}sync-token") or "").strip() or None,
    )
