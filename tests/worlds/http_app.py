"""The HTTP functions, called as the Functions host calls them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import azure.functions as func
from pydantic import BaseModel

from functions.http.kit.calls import Call
from functions.http.kit.operations import ApiOperation
from functions.http.kit.resource import trigger_of
from infra.app.build import build, serving
from infra.authentication.development import mint_token
from tests.worlds.builders import (
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    FakeClock,
    MemoryQueue,
    Receivers,
    new_database,
    settings_at,
)

SECRET = "whsec_dGhpcyBpcyBhIHNlY3JldA=="
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ALL = ["webhook:manage", "events:write"]


class Thing(BaseModel):
    name: str = "a thing"


class App:
    """The HTTP functions over embedded adapters, called as the Functions host calls them."""

    def __init__(self, home: Path, **changes: Any) -> None:
        """`changes` are arguments of `build`."""
        new_database(home)
        self.home, self.clock = home, FakeClock()
        self.queue, self.receivers = MemoryQueue(self.clock), Receivers(self.clock)
        adapters = {"settings": settings_at(home), "queue": self.queue, "http": self.receivers, **changes}
        self.hub = build(clock=self.clock, **adapters)
        from functions.http.events.routes import events
        from functions.http.webhooks.routes import webhooks

        app = func.FunctionApp()
        app.register_functions(events.bp)
        app.register_functions(webhooks.bp)
        self._functions = {
            get_function.get_function_name(): get_function.get_user_function()
            for get_function in app.get_functions()
        }

    def token(self, *permissions: str, other: bool = False) -> str:
        return mint_token(
            self.home,
            tenant_id=OTHER_TENANT if other else TENANT,
            user_id=OTHER_USER if other else USER,
            permissions=permissions,
            ttl_seconds=3600,
        )

    def request(
        self,
        method: str,
        path: str,
        body: object = b"",
        *,
        parameters: Mapping[str, str] | None = None,
        **headers: str,
    ) -> func.HttpRequest:
        given = {"authorization": f"Bearer {self.token(*ALL)}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        parts = path.split("/")
        route = {"id": parts[1]} if len(parts) > 1 else {}
        query = f"?{urlencode(parameters)}" if parameters else ""
        # As the Functions host does it: what has no value is in the address only.
        params = {name: value for name, value in (parameters or {}).items() if value}
        return func.HttpRequest(
            method,
            f"http://localhost:7071/api/{path}{query}",
            headers=given,
            params=params,
            route_params=route,
            body=raw,
        )

    def call(self, name: str, request: func.HttpRequest) -> func.HttpResponse:
        return run(self._functions[name], request)

    def serve(
        self, handler: Callable[[Call], Any], **options: Any
    ) -> Callable[[func.HttpRequest], func.HttpResponse]:
        """A function of one's own, that is not registered."""
        settings = {"method": "POST", "route": "things", "name": "thing", "summary": "", "tag": ""} | options
        trigger = trigger_of(ApiOperation(**settings), handler)
        return lambda request: run(trigger, request)


@contextmanager
def serving_app(home: Path, **changes: Any) -> Iterator[App]:
    """An `App` whose hub is the process's."""
    made = App(home, **changes)
    with serving(made.hub):
        yield made
    made.hub.database.close()


def run(function: Callable[[func.HttpRequest], Any], request: func.HttpRequest) -> func.HttpResponse:
    came = function(request)
    response = asyncio.run(came) if asyncio.iscoroutine(came) else came
    assert isinstance(response, func.HttpResponse)
    return response


def said(response: func.HttpResponse) -> dict[str, Any]:
    body = json.loads(response.get_body())
    assert isinstance(body, dict)
    return body


def create_webhook(app: App, **headers: str) -> func.HttpResponse:
    body = {"url": "https://a.example/", "eventTypes": ["*"]}
    return app.call("create_webhook", app.request("POST", "webhooks", body, **headers))
