"""Every operation of the API, by the resource that declares it, and the methods that each path takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import BaseModel

from functions.http.kit.bodies import COMMAND, NOTHING, BodyLimit

#: The prefix of every route. The Functions host adds it (`extensions.http.routePrefix` in host.json), so that
#: `serve` registers routes without it.
API = "/api/"

READ = ("GET", "HEAD")
"""What takes GET takes HEAD (RFC 9110 section 9.1), as probes and `curl -I` expect; the host leaves the body out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiOperation:
    """One operation, as the OpenAPI document describes it. Several `body` models are alternatives.

    - `own_permission`: enough for the caller's own calendars, where the caller lacks `permission`.
    - `any_permission`: the use case asks for one of these, depending on the object; in place of `permission`.
    - `open_in_development`: requests without credentials are let pass there.
    - `free_with`: a permission with which calls take nothing of a person's quota.
    - `foreign_query`: others add parameters of their own to its address, which are let pass.
    - `body_limit`: what a body may have; that of a command, or of none, where it is not said.
    - `refusals`: the error statuses of its use case; those of every operation of its kind are added to them."""

    method: str
    route: str
    name: str
    summary: str
    tag: str
    description: str = ""
    permission: str | None = None
    own_permission: str | None = None
    free_with: str | None = None
    any_permission: tuple[str, ...] = ()
    open_in_development: bool = False
    anonymous: bool = False
    body: type[BaseModel] | tuple[type[BaseModel], ...] | None = None
    body_is_optional: bool = False
    body_limit: BodyLimit | None = None
    query: type[BaseModel] | None = None
    foreign_query: bool = False
    response: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    refusals: tuple[int, ...] = ()

    @property
    def takes(self) -> BodyLimit:
        """The limit of its body."""
        return self.body_limit or (COMMAND if self.body else NOTHING)


OPERATIONS: list[ApiOperation] = []

_METHODS: dict[str, set[str]] = {}


def serve_methods(route: str, methods: Iterable[str]) -> None:
    """Record that a function answers these methods at `route`."""
    _METHODS.setdefault(route, set()).update(methods)


def methods_of(path: str) -> list[str]:
    """Return the methods that a path beneath `/api/` takes; none where nothing is served.

    Among the routes that match, those with the fewest parameters count: `apikeys/verify` before `apikeys/{id}`."""
    matching = [route for route in _METHODS if _matches(route, path)]
    fewest = min((route.count("{") for route in matching), default=0)
    return sorted({method for route in matching if route.count("{") == fewest for method in _METHODS[route]})


def _matches(route: str, path: str) -> bool:
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(route))
    return re.fullmatch(pattern, path, re.IGNORECASE) is not None
