"""What every HTTP function does around its use case: trace, authenticate, parse, answer, and explain errors."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import azure.functions as func
from pydantic import BaseModel, ValidationError

from domain.apikeys.window import RateStatus
from domain.errors import DomainError, NotFound, PreconditionFailed, TooLarge, ValidationFailed
from domain.idempotency import StoredAnswer
from domain.identity.model import Origin, Principal
from domain.identity.service import Admission, Credentials
from domain.tracing import UNTRACED, Span, Tracer
from functions.http.origin import client_country, client_ip
from functions.http.problems import MalformedBody, from_domain, problem, status_of, validation_error
from functions.http.ratelimit import rate_headers
from functions.http.tracing import NO_CONTEXT, parent_of, request_span, tell_status
from infra.bootstrap import hub
from infra.logs import bind
from infra.trace import Trace, within

logger = logging.getLogger("hub.http")

M = TypeVar("M", bound=BaseModel)
BODY_AT_MOST = 1024 * 1024 + 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("Location", "ETag")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns; `version` becomes the ETag. `text` stands in for a value that is not JSON."""

    value: BaseModel | None = None
    status: int = 200
    location: str | None = None
    version: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    media_type: str = "text/csv"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, past authentication."""

    request: func.HttpRequest
    principal: Principal
    trace: Trace

    def id(self, name: str = "id") -> UUID:
        """A GUID of the path; anything else is an unknown id. Raises NotFound."""
        try:
            return UUID(self.request.route_params[name])
        except ValueError:
            raise NotFound("There is no such thing.") from None

    def body(self, model: type[M]) -> M:
        """The body as a command. Raises ValidationFailed, TooLarge, or MalformedBody."""
        return parse(model, self.request.get_body(), BODY_AT_MOST)

    def query(self, model: type[M]) -> M:
        """The query string as a model. Raises ValidationFailed."""
        try:
            return model.model_validate(dict(self.request.params))
        except ValidationError as error:
            raise validation_error(error, "query") from error

    def if_match(self) -> int | None:
        """The version that `If-Match` asks for (RFC 9110 section 13.1.1); None when any will do."""
        header = self.request.headers.get("if-match", "").strip()
        if header in ("", "*"):
            return None
        tag = header.removeprefix("W/").strip('"').partition(".")[0]
        if not tag.isdecimal():
            raise PreconditionFailed("If-Match names no version of this resource.")
        return int(tag[:9])


def parse(model: type[M], body: bytes, most: int, *, empty: bytes = b"") -> M:
    """JSON bytes as `model`. Raises ValidationFailed, TooLarge, or MalformedBody."""
    if len(body) > most:
        raise TooLarge(f"The body is {len(body):,} bytes; at most {most:,} are taken.")
    if not body.strip():
        if not empty:
            raise MalformedBody("The body is empty; JSON is needed.")
        body = empty
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise validation_error(error, "body") from error


Handler = Callable[[Call], Answer] | Callable[[Call], Awaitable[Answer]]
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
                route=endpoint.route, methods=[endpoint.method], auth_level=func.AuthLevel.ANONYMOUS
            )(trigger)
        )
        return handler

    return register


def _sync_trigger(endpoint: Endpoint, handler: Any) -> Trigger:
    def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(endpoint.route):
            try:
                call = exchange.authenticated(endpoint)
                stored = exchange.replayed(endpoint, call)
                return exchange.finish(call, handler(call)) if stored is None else stored
            except Exception as error:
                return exchange.failed(error)

    return run


def _async_trigger(endpoint: Endpoint, handler: Any) -> Trigger:
    async def run(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
        exchange = Exchange(req, context)
        with exchange.bound(endpoint.route):
            try:
                call = await exchange.authenticated_soon(endpoint)
                if not exchange.is_idempotent(endpoint):
                    return exchange.finish(call, await handler(call))
                stored = await asyncio.to_thread(exchange.replayed, endpoint, call)
                if stored is not None:
                    return stored
                answer = await handler(call)
                return await asyncio.to_thread(exchange.finish, call, answer)
            except Exception as error:
                if not exchange.is_idempotent(endpoint):
                    return exchange.failed(error)
                return await asyncio.to_thread(exchange.failed, error)

    return run


def _tracer() -> Tracer:
    """The hub's; none while settings keep it from being built, for what needs it next says so as a problem."""
    try:
        return hub().tracer
    except Exception:
        return UNTRACED


class Exchange:
    """One request and its response."""

    def __init__(self, request: func.HttpRequest, context: func.Context = NO_CONTEXT) -> None:
        self._request = request
        self._path = urlsplit(request.url).path
        self._parent, self._is_hosted = parent_of(request, context)
        self._trace = Trace.continued(self._parent)
        self._span: Span | None = None
        given = request.headers.get("x-request-id", "")
        self._request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        self._idempotency: tuple[UUID, str, bytes] | None = None
        self._rate: RateStatus | None = None

    @property
    def trace_id(self) -> str:
        return self._trace.trace_id

    @property
    def request_id(self) -> str:
        """The `X-Request-Id` of the request, or a new one."""
        return self._request_id

    @property
    def traceparent(self) -> str:
        """The trace as W3C has it in a header."""
        return self._trace.header

    @contextmanager
    def bound(self, route: str) -> Iterator[None]:
        """Trace the request, and put its trace and its id on every line logged meanwhile."""
        with bind(request=self._request_id):
            tracer = _tracer()
            if tracer is UNTRACED:
                with within(self._trace):
                    yield
                return
            with request_span(
                tracer, self._request.method, route, parent=self._parent, is_hosted=self._is_hosted
            ) as self._span:
                self._trace = Trace.of(self._span.traceparent) or self._trace
                yield

    def authenticated(self, endpoint: Endpoint) -> Call:
        """Raises Unauthenticated, Forbidden, RateLimited, Unavailable."""
        return self._admitted(hub().authenticator.admit(self._credentials(), endpoint.permission))

    async def authenticated_soon(self, endpoint: Endpoint) -> Call:
        """The same for an event loop."""
        return self._admitted(await hub().authenticator.admit_soon(self._credentials(), endpoint.permission))

    def _credentials(self) -> Credentials:
        headers = self._request.headers
        settings = hub().settings
        ip = client_ip(headers.get("x-forwarded-for"), settings.trusted_proxy_hops)
        told = settings.client_country_header
        return Credentials(
            headers.get("authorization"),
            headers.get("x-ms-client-principal"),
            headers.get("x-api-key"),
            Origin(
                ip,
                self._request_id,
                self._trace.trace_id,
                client=headers.get("user-agent"),
                country=client_country(headers.get(told)) if told else None,
            ),
        )

    def _admitted(self, admission: Admission) -> Call:
        self._rate = admission.rate
        return Call(self._request, admission.require(), self._trace)

    def is_idempotent(self, endpoint: Endpoint) -> bool:
        """Whether the request names an Idempotency-Key that counts."""
        return endpoint.method == "POST" and "idempotency-key" in self._request.headers

    def replayed(self, endpoint: Endpoint, call: Call) -> func.HttpResponse | None:
        """The first answer to a repeated Idempotency-Key; None when the request is new, or names none."""
        if not self.is_idempotent(endpoint):
            return None
        key = self._request.headers["idempotency-key"]
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise ValidationFailed("Idempotency-Key must be 1 to 255 visible ASCII characters.")
        tenant = call.principal.tenant_id
        # Whose request it is belongs to it: another caller must not be shown a secret of the first answer.
        caller = call.principal.api_key_id or call.principal.user_id
        request = f"POST {self._path} {caller}\n".encode() + self._request.get_body()
        stored = hub().idempotency.begin(tenant, key, request)
        if stored is None:
            self._idempotency = (tenant, key, request)
            return None
        headers = {**stored.headers, "Idempotency-Replayed": "true"}
        return self.dressed(func.HttpResponse(stored.body, status_code=stored.status, headers=headers))

    def finish(self, call: Call, answer: Answer) -> func.HttpResponse:
        """The response of a handler that returned. From here on the change stands, so nothing may free its
        Idempotency-Key, and an answer that cannot be remembered is given all the same."""
        taken, self._idempotency = self._idempotency, None
        response = self.dressed(_response(answer, call.request))
        if taken:
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            kept["Content-Type"] = response.mimetype
            stored = StoredAnswer(response.status_code, kept, response.get_body())
            _attempt("answer not remembered", lambda: hub().idempotency.finish(*taken, stored))
        return response

    def failed(self, error: Exception) -> func.HttpResponse:
        """The problem response of whatever was raised; an unexpected error is logged with its stack."""
        if self._idempotency:
            tenant, key, _ = self._idempotency
            _attempt("idempotency key not released", lambda: hub().idempotency.abandon(tenant, key))
        if isinstance(error, DomainError):
            if status_of(error) >= 500:
                logger.error("request failed", extra={"code": error.code, "path": self._path}, exc_info=error)
            return self.dressed(from_domain(error, instance=self._path, trace_id=self._trace.trace_id))
        logger.error("unexpected error", extra={"path": self._path}, exc_info=error)
        return self.dressed(
            problem(
                500,
                "internal-error",
                "Something went wrong on our side; quote the traceId when you report it.",
                instance=self._path,
                trace_id=self._trace.trace_id,
            )
        )

    def dressed(self, response: func.HttpResponse) -> func.HttpResponse:
        """The response with the headers that every answer carries."""
        if self._rate is not None:
            response.headers.update(rate_headers(self._rate, hub().clock.now()))
        if self._span is not None:
            tell_status(self._span, response.status_code)
        response.headers["X-Request-Id"] = self._request_id
        response.headers["traceparent"] = self._trace.header
        response.headers["X-Content-Type-Options"] = "nosniff"
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response


def _attempt(failure: str, action: Callable[[], None]) -> None:
    """The key then stays taken for five minutes at most; what the caller is told matters more."""
    try:
        action()
    except Exception as error:
        logger.warning(failure, exc_info=error)


def _names(if_none_match: str, etag: str) -> bool:
    """Weak comparison with a list of tags (RFC 9110 section 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


def _response(answer: Answer, request: func.HttpRequest) -> func.HttpResponse:
    headers = dict(answer.headers)
    if answer.location:
        headers["Location"] = answer.location
    if answer.text is not None:
        return func.HttpResponse(
            answer.text, status_code=answer.status, headers=headers, mimetype=answer.media_type
        )
    if answer.value is None:
        return func.HttpResponse(status_code=answer.status, headers=headers)
    text = answer.value.model_dump_json(by_alias=True)
    if answer.version is not None:
        # The version guards changes (If-Match); the checksum also covers counters, which change without one.
        headers["ETag"] = f'"{answer.version}.{zlib.crc32(text.encode()):08x}"'
        if request.method == "GET" and _names(request.headers.get("if-none-match", ""), headers["ETag"]):
            return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(text, status_code=answer.status, headers=headers, mimetype="application/json")
