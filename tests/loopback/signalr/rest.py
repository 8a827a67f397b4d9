"""The part of the data-plane REST API that sends, groups, closes and makes tokens.

Source: "Azure SignalR Service data plane REST API", version 2024-12-01 (Microsoft).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tests.loopback.signalr.state import State, everyone, one_group, one_user

API = "/api/hubs/"
_HUB = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MOST_BYTES = 1024 * 1024
"""Of a message (`Azure SignalR Service limits`)."""

Answer = tuple[int, dict[str, Any] | None]


class RestApi:
    """`entra_token` is the token of an identity that has the role to use the service."""

    def __init__(self, state: State, endpoint: str, entra_token: str) -> None:
        self._state = state
        self._endpoint = endpoint
        self._entra_token = entra_token

    def answer(
        self, method: str, raw_path: str, query: Mapping[str, str], authorization: str, body: bytes
    ) -> Answer:
        """`raw_path` as it came, percent signs and all: the token is for that address."""
        if not self._is_let_in(authorization, raw_path):
            return 401, None
        hub, *what = (unquote(part) for part in raw_path.removeprefix(API).split("/"))
        if not _HUB.fullmatch(hub) or "api-version" not in query:
            return 400, _error("The hub's name or the api-version is not as it has to be.")
        return self._done(method, hub, what, query, body)

    def _is_let_in(self, authorization: str, raw_path: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return False
        return token == self._entra_token or self._state.is_signed(token, f"{self._endpoint}{raw_path}")

    def _done(self, method: str, hub: str, what: list[str], query: Mapping[str, str], body: bytes) -> Answer:
        state = self._state
        match [method, *what]:
            case ["POST", ":send"]:
                return self._sent(everyone(hub), body)
            case ["POST", "users", user, ":send"]:
                return self._sent(one_user(hub, user), body)
            case ["POST", "groups", group, ":send"]:
                return self._sent(one_group(hub, group), body)
            case ["PUT", "users", user, "groups", group]:
                state.add(hub, user, group, int(query["ttl"]) if "ttl" in query else None)
                return 200, None
            case ["DELETE", "users", user, "groups", *groups] if len(groups) < 2:
                state.remove(hub, user, groups[0] if groups else None)
                return 200, None
            case ["POST", "users", user, ":closeConnections"]:
                state.close(hub, user)
                return 204, None
            case ["POST", ":generateToken"]:
                minutes = int(query.get("minutesToExpire", "60"))
                return 200, {"token": state.client_token(hub, query["userId"], minutes)}
        return 404, None

    def _sent(self, address: str, body: bytes) -> Answer:
        if len(body) > _MOST_BYTES:
            return 413, _error("The message is too large.")
        try:
            message = json.loads(body)
            target, arguments = str(message["target"]), list(message["arguments"])
        except (ValueError, KeyError, TypeError):
            return 400, _error("A message has a target and a list of arguments.")
        self._state.send(address, target, arguments)
        return 202, None


def _error(message: str) -> dict[str, Any]:
    return {"code": "BadRequest", "message": message}
