"""Which methods a path takes, by the description of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from functions.http.kit.endpoint import READ
from infra.app.build import hub

_METHODS = frozenset(("get", "put", "post", "delete", "patch", "options", "head", "trace"))


def methods_of(path: str) -> list[str]:
    """What the description says a path beneath `/api/` takes; nothing for one it does not know. A literal path is more
    than one of a resource's ids."""
    from functions.http.openapi.document import document

    routes = {
        route.removeprefix("/api/"): _taken(route, item)
        for route, item in document(hub().settings.public_url)["paths"].items()
    }
    matching = [route for route in routes if _matches(route, path)]
    fewest = min((route.count("{") for route in matching), default=0)
    return sorted({method for route in matching if route.count("{") == fewest for method in routes[route]})


def _taken(route: str, item: Mapping[str, Any]) -> list[str]:
    """What others call by GET without credentials, such as the OAuth callback, does something: it takes no HEAD."""
    from functions.http.openapi.anonymous import OPERATIONS_PATHS

    methods = [method.upper() for method in item if method in _METHODS]
    reads = "get" in item and (item["get"]["security"] or route in OPERATIONS_PATHS)
    return [*methods, *READ] if reads else methods


def _matches(route: str, path: str) -> bool:
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(route))
    return re.fullmatch(pattern, path, re.IGNORECASE) is not None
