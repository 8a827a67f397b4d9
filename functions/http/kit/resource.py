"""The operations of a resource, declared with a decorator each.

Example:

    webhooks = Resource("webhooks", tag="Webhooks", permission=WEBHOOK_MANAGE)

    @webhooks.get("{id}", response=WebhookView)
    def get_webhook(call: Call) -> ApiResponse: ...
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, cast

import azure.functions as func
from pydantic import BaseModel

from functions.http.kit.bodies import BodyLimit, check_arrived, hold_body
from functions.http.kit.calls import ApiResponse, Call, check_parameters
from functions.http.kit.exchange import Exchange
from functions.http.kit.operations import API, OPERATIONS, READ, ApiOperation, serve_methods
from functions.http.kit.tracing import NO_CONTEXT

SyncHandler = Callable[[Call], ApiResponse]
AsyncHandler = Callable[[Call], Awaitable[ApiResponse]]
Trigger = Callable[..., Any]
H = TypeVar("H", SyncHandler, AsyncHandler)
T = TypeVar("T", bound=Trigger)


class Options(TypedDict, total=False):
    """What an operation may declare; see `ApiOperation`. the permissions replace those of the resource."""

    permission: str | None
    own_permission: str | None
    free_with: str | None
    any_permission: tuple[str, ...]
    body: type[BaseModel] | tuple[type[BaseModel], ...]
    body_is_optional: bool
    body_limit: BodyLimit
    query: type[BaseModel]
    foreign_query: bool
    response: type[BaseModel]
    status: int
    media_type: str
    refusals: tuple[int, ...]


class Resource:
    """The operations beneath one route.

    A handler's name becomes the name of its function, the first line of its docstring the summary of the operation,
    and the rest of it the description. `bp` is what the app registers."""

    def __init__(
        self, route: str, *, tag: str, permission: str | None = None, own_permission: str | None = None
    ) -> None:
        self.bp = func.Blueprint()
        self._route = route
        self._tag = tag
        self._permission = permission
        self._own_permission = own_permission

    def get(self, path: str = "", **options: Unpack[Options]) -> Callable[[H], H]:
        return self._operation("GET", path, options)

    def post(self, path: str = "", **options: Unpack[Options]) -> Callable[[H], H]:
        return self._operation("POST", path, options)

    def put(self, path: str = "", **options: Unpack[Options]) -> Callable[[H], H]:
        return self._operation("PUT", path, options)

    def delete(self, path: str = "", **options: Unpack[Options]) -> Callable[[H], H]:
        return self._operation("DELETE", path, options)

    def location(self, *segments: object) -> str:
        """Return the address of an item beneath the resource, such as `/api/webhooks/<id>`."""
        return "/".join((f"{API}{self._route}", *map(str, segments)))

    def _operation(self, method: str, path: str, declared: Options) -> Callable[[H], H]:
        options: Options = {
            "permission": self._permission,
            "own_permission": self._own_permission,
            **declared,
        }

        def register(handler: H) -> H:
            summary, _, description = (inspect.getdoc(handler) or "").partition("\n")
            operation = ApiOperation(
                method=method,
                route=f"{self._route}/{path}".strip("/"),
                name=handler.__name__,
                summary=summary.removesuffix("."),
                description=description.strip(),
                tag=self._tag,
                **options,
            )
            OPERATIONS.append(operation)
            methods = READ if method == "GET" else (method,)
            serve(self.bp, operation.route, methods=methods)(trigger_of(operation, handler))
            return handler

        return register


def serve(blueprint: func.Blueprint, route: str, *, methods: Sequence[str] | None = READ) -> Callable[[T], T]:
    """Register an HTTP function that answers requests itself, without authentication, under its own name.

    `methods=None` takes all methods, and is not counted as an answer to any. The OpenAPI document describes such a
    function only by the `ApiOperation` that its module adds to `OPERATIONS`."""

    def register(trigger: T) -> T:
        if methods is not None:
            serve_methods(route, methods)
        served = blueprint.route(route=route, methods=methods, auth_level=func.AuthLevel.ANONYMOUS)
        blueprint.function_name(trigger.__name__)(served(trigger))
        return trigger

    return register


def trigger_of(operation: ApiOperation, handler: SyncHandler | AsyncHandler) -> Trigger:
    """Return the HTTP function of a handler: traced, authenticated, repeatable, and failing with a problem."""
    if inspect.iscoroutinefunction(handler):
        trigger = _async_trigger(operation, handler)
    else:
        trigger = _sync_trigger(operation, cast(SyncHandler, handler))
    trigger.__name__ = operation.name
    return trigger


def _sync_trigger(operation: ApiOperation, handler: SyncHandler) -> Trigger:
    def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(operation.route):
            try:
                operation.takes.check(req)
                if operation.body:
                    check_arrived(req)
                call = exchange.authenticated(
                    operation.permission, operation.own_permission, free_with=operation.free_with
                )
                if not operation.foreign_query:
                    check_parameters(call.request, operation.query)
                with hold_body(call.principal.tenant_id, req):
                    stored = exchange.replayed(call)
                    return exchange.finish(call, handler(call)) if stored is None else stored
            except Exception as error:
                return exchange.failed(error)

    return run


def _async_trigger(operation: ApiOperation, handler: AsyncHandler) -> Trigger:
    async def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(operation.route):
            try:
                operation.takes.check(req)
                if operation.body:
                    check_arrived(req)
                needed = operation.permission, operation.own_permission
                call = await exchange.authenticated_soon(*needed, free_with=operation.free_with)
                if not operation.foreign_query:
                    check_parameters(call.request, operation.query)
                with hold_body(call.principal.tenant_id, req):
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
