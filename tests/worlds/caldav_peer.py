"""A CalDAV server that installs from PyPI (Radicale), with one account."""

from __future__ import annotations

import http.client
from base64 import b64encode
from urllib.parse import urlsplit

PASSWORD = "correct-horse-battery"


def make_calendar(
    address: str,
    username: str,
    password: str,
    name: str,
    *,
    path: str = "shifts",
    components: tuple[str, ...] = (),
) -> None:
    comps = "".join(f'<C:comp name="{component}"/>' for component in components)
    taken = f"<C:supported-calendar-component-set>{comps}</C:supported-calendar-component-set>"
    body = (
        '<C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:set><D:prop>'
        f"<D:displayname>{name}</D:displayname>{taken if components else ''}</D:prop></D:set></C:mkcalendar>"
    )
    server = http.client.HTTPConnection(urlsplit(address).netloc)
    token = b64encode(f"{username}:{password}".encode()).decode()
    server.request("MKCALENDAR", f"/{username}/{path}/", body, {"Authorization": f"Basic {token}"})
    assert server.getresponse().status == 201
    server.close()


def account(address: str, **changes: str) -> dict[str, str]:
    return {"serverUrl": address, "username": "ada", "password": PASSWORD} | changes
