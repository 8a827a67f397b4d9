"""The steps around every handler: trace, authentication, idempotency, headers and problems."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import azure.functions as func

from domain.apikeys.rate_limit import RateStatus
from domain.authentication.service import AuthenticationResult, Authenticator, Credentials
from domain.core.errors import DomainError, OutcomeUnknown, Unavailable, ValidationFailed
from domain.core.idempotency import Idempotency, StoredAnswer
from domain.core.memory_budget import Busy
from domain.core.principal import RequestOrigin
from domain.core.tracing import UNTRACED, Span, Tracer
from domain.core.transaction import Effects, counted_effects
from functions.http.kit.calls import ApiResponse, Call, response_of
from functions.http.kit.origin import client_country, client_ip
from functions.http.kit.problems import from_domain, problem, status_of
from functions.http.kit.ratelimit import rate_headers
from functions.http.kit.tracing import NO_CONTEXT, parent_of, request_span, tell_status
from infra.app.build import hub, use
from infra.observability.logs import bind
from infra.observability.trace import Trace, within

logger = logging.getLogger("hub.http")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT_HEADERS = ("Location", "ETag")


def _tracer() -> Tracer:
    """Return the hub's tracer, or none while the settings are invalid; the next use of the hub reports those."""
    try:
        return hub().tracer
    except Exception:
        return UNTRACED


class Exchange:
    """One request and its response."""

    def __init__(self, request: func.HttpRequest, context: func.Context = NO_CONTEXT) -> None:
        self._request = request
        self._path = urlsplit(request.url).path
        #: What logs and problems name: a token in the address is a credential.
        has_token = "token" in request.route_params
        self.shown_path = f"{self._path.rpartition('/')[0]}/********" if has_token else self._path
        self._parent, self._is_hosted = parent_of(request, context)
        self._trace = Trace.continued(self._parent)
        self._span: Span | None = None
        given = request.headers.get("x-request-id", "")
        self._request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
        self._idempotency: tuple[UUID, str, str] | None = None
        self._rate: RateStatus | None = None
        self._effects = Effects()

    @property
    def trace_id(self) -> str:
        return self._trace.trace_id

    @property
    def request_id(self) -> str:
        """The `X-Request-Id` of the request, or a new one."""
        return self._request_id

    @property
    def traceparent(self) -> str:
        """The trace as a `traceparent` header."""
        return self._trace.header

    @contextmanager
    def bound(self, route: str) -> Iterator[None]:
        """Trace the request, and put its trace and id on every line that is logged meanwhile."""
        with bind(request=self._request_id), counted_effects() as self._effects:
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

    def authenticated(
        self, permission: str | None, instead: str | None = None, *, free_with: str | None = None
    ) -> Call:
        """Return the authenticated call. Raises Unauthenticated, Forbidden, RateLimited or Unavailable.

        - `instead`: a permission that lets a caller pass who lacks the other; the use case decides what it opens.
        - `free_with`: a permission with which the call takes nothing of a person's quota."""
        credentials = self._credentials()
        authenticator = use(Authenticator)
        return self._call(
            authenticator.authenticate(credentials, permission, instead=instead, free_with=free_with)
        )

    async def authenticated_soon(
        self, permission: str | None, instead: str | None = None, *, free_with: str | None = None
    ) -> Call:
        """Do what `authenticated` does, on an event loop."""
        credentials = self._credentials()
        authenticator = use(Authenticator)
        result = await authenticator.authenticate_soon(
            credentials, permission, instead=instead, free_with=free_with
        )
        return self._call(result)

    def _credentials(self) -> Credentials:
        headers = self._request.headers
        settings = hub().settings
        ip = client_ip(headers.get("x-forwarded-for"), settings.trusted_proxy_hops)
        told = settings.client_country_header
        return Credentials(
            headers.get("authorization"),
            headers.get("x-ms-client-principal"),
            headers.get("x-api-key"),
            RequestOrigin(
                ip,
                self._request_id,
                self._trace.trace_id,
                client=headers.get("user-agent"),
                country=client_country(headers.get(told)) if told else None,
            ),
        )

    def _call(self, result: AuthenticationResult) -> Call:
        self._rate = result.rate
        self._effects.count = 0  # recording who called is no part of the request
        return Call(self._request, result.require(), self._trace)

    @property
    def is_idempotent(self) -> bool:
        """Whether the request has an Idempotency-Key that counts."""
        return self._request.method == "POST" and "idempotency-key" in self._request.headers

    def replayed(self, call: Call) -> func.HttpResponse | None:
        """Return the stored answer to a repeated Idempotency-Key, or None for a new request."""
        if not self.is_idempotent:
            return None
        key = self._request.headers["idempotency-key"]
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            raise ValidationFailed("Idempotency-Key must be 1 to 255 visible ASCII characters.")
        tenant = call.principal.tenant_id
        # The caller is part of the request: another caller must not see a secret of the first answer.
        caller = call.principal.api_key_id or call.principal.user_id
        request = hashlib.sha256(f"POST {self._path} {caller}\n".encode())
        request.update(self._request.get_body())
        fingerprint = request.hexdigest()
        stored = use(Idempotency).begin(tenant, key, fingerprint)
        if stored is None:
            self._idempotency = (tenant, key, fingerprint)
            return None
        headers = {**stored.headers, "Idempotency-Replayed": "true"}
        return self.dressed(func.HttpResponse(stored.body, status_code=stored.status, headers=headers))

    def finish(self, call: Call, answer: ApiResponse) -> func.HttpResponse:
        """Return the response of a handler that succeeded.

        The change is stored, so from here on nothing may free its Idempotency-Key, unless the answer is not to
        be kept. The response is returned even when it cannot be stored under its key."""
        taken, self._idempotency = self._idempotency, None
        response = self.dressed(response_of(answer, call.request))
        if taken and not answer.is_kept:
            self._release(taken)
        elif taken:
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            kept["Content-Type"] = response.mimetype
            stored = StoredAnswer(response.status_code, kept, response.get_body())
            _attempt("answer not remembered", lambda: use(Idempotency).finish(*taken, stored))
        return response

    def failed(self, error: Exception) -> func.HttpResponse:
        """Return the problem response of an error; an unexpected one is logged with its stack.

        The Idempotency-Key is freed only when it is certain that nothing was changed."""
        if isinstance(error, Unavailable) and self._effects.count:
            error = _cut_off(error)
        if self._idempotency and isinstance(error, DomainError) and not isinstance(error, OutcomeUnknown):
            self._release(self._idempotency)
        if isinstance(error, DomainError):
            if isinstance(error, Busy):
                logger.warning("request turned away", extra={"path": self.shown_path})
            elif status_of(error) >= 500:
                logger.error(
                    "request failed", extra={"code": error.code, "path": self.shown_path}, exc_info=error
                )
            return self.dressed(from_domain(error, instance=self.shown_path, trace_id=self._trace.trace_id))
        logger.error("unexpected error", extra={"path": self.shown_path}, exc_info=error)
        return self.dressed(
            problem(
                500,
                "internal-error",
                "Something went wrong on our side; quote the traceId when you report it.",
                instance=self.shown_path,
                trace_id=self._trace.trace_id,
            )
        )

    @staticmethod
    def _release(taken: tuple[UUID, str, str]) -> None:
        tenant, key, _ = taken
        _attempt("idempotency key not released", lambda: use(Idempotency).abandon(tenant, key))

    def dressed(self, response: func.HttpResponse) -> func.HttpResponse:
        """Return the response with the headers that every answer has."""
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


def _cut_off(error: Unavailable) -> OutcomeUnknown:
    """Return the error for a request that failed after it had changed something."""
    cut_off = OutcomeUnknown(f"{error.detail} The request may have been carried out in part.")
    cut_off.__cause__ = error
    return cut_off


def _attempt(failure: str, action: Callable[[], None]) -> None:
    """Run the action; a failure is logged only, since the key then stays taken and its repeat says so."""
    try:
        action()
    except Exception as error:
        logger.warning(failure, exc_info=error)
