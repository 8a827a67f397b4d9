"""The operations: each is a handler, registered as an HTTP function and documented."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import azure.functions as func
from pydantic import BaseModel

from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.exchange import Exchange
from functions.http.kit.tracing import NO_CONTEXT

Handler = Callable[[Call], ApiResponse] | Callable[[Call], Awaitable[ApiResponse]]
Trigger = Callable[[func.HttpRequest], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation, as registered and as documented in the OpenAPI page. Several `body` models are alternatives."""

    method: str
    route: str
    name: str
    summary: str
    tag: str
    description: str = ""
    permission: str | None = None
    anonymous: bool = False
    body: type[BaseModel] | tuple[type[BaseModel], ...] | None = None
    body_is_optional: bool = False
    query: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    status: int = 200
    media_type: str = "application/json"
    refusals: tuple[int, ...] = ()


ENDPOINTS: list[Endpoint] = []

READ = ("GET", "HEAD")
"""What takes GET takes HEAD (RFC 9110 section 9.1), as probes and `curl -I` expect; the host leaves the body out."""


def serve(blueprint: func.Blueprint, endpoint: Endpoint) -> Callable[[Handler], Handler]:
    """Register a handler as the HTTP function of `endpoint`."""

    def register(handler: Handler) -> Handler:
        documented = replace(endpoint, description=endpoint.description or inspect.getdoc(handler) or "")
        ENDPOINTS.append(documented)
        trigger = _async_trigger(documented, handler) if inspect.iscoroutinefunction(handler) else None
        trigger = trigger or _sync_trigger(documented, handler)
        trigger.__name__ = endpoint.name
        trigger.__doc__ = documented.description
        blueprint.function_name(endpoint.name)(
            blueprint.route(
                route=endpoint.route,
                methods=READ if endpoint.method == "GET" and not endpoint.anonymous else [endpoint.method],
                auth_level=func.AuthLevel.ANONYMOUS,
            )(trigger)
        )
        return handler

    return register


def _sync_trigger(endpoint: Endpoint, handler: Any) -> Trigger:
    def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(endpoint.route):
            try:
                call = exchange.authenticated(endpoint.permission)
                stored = exchange.replayed(call)
                return exchange.finish(call, handler(call)) if stored is None else stored
            except Exception as error:
                return exchange.failed(error)

    return run


def _async_trigger(endpoint: Endpoint, handler: Any) -> Trigger:
    async def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(endpoint.route):
            try:
                call = await exchange.authenticated_soon(endpoint.permission)
                if not exchange.is_idempotent:
                    return exchange.finish(call, await handler(call))
                stored = await asyncio.to_thread(exchange.replayed, call)
                if stored is not None:
                    return stored
                answer = await handler(call)
                return await asyncio.to_thread(exchange.finish, call, answer)
            except Exception as error:
                if not exchange.is_idempotent:
                    return exchange.failed(error)
                return await asyncio.to_thread(exchange.failed, error)

    return run
