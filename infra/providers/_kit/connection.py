"""The way from an adapter to its provider: encoding, retries, circuit breaker and error mapping over httpx."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlencode, urlsplit

from domain.core.acting_for import acting_for
from domain.core.ports import Clock, OutboundError
from domain.integrations.ports import RenewableToken
from domain.providers.contract import ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.untrusted import UNPROTECTED, TenantWork
from infra.outbound.request import parsed_url
from infra.providers._kit.circuit import Circuits, TenantHost
from infra.providers._kit.rate_limits import asked_wait, is_rate_limit
from infra.providers._kit.reading import with_body_read
from infra.providers._kit.refusal import describe, failure_kind

if TYPE_CHECKING:
    import httpx

RETRIES = 2
BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 8.0
#: The longest wait a `Retry-After` may ask of a call that someone waits for; a longer one ends the call.
RETRY_AFTER_SECONDS_MAX = 10.0
#: The longest pause a `Retry-After` may impose on the calls that follow.
PAUSE_SECONDS_MAX = 3600.0
#: All tries and waits of one call together (section 9.1: an external call ends in 30 s; tries share the rest).
CALL_SECONDS_MAX = 45.0

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT"))
_RETRIED_STATUSES = frozenset((408, 425, 500, 502, 503, 504))
_RETRIED_ERRORS = frozenset(("timeout", "connect", "protocol"))


class HttpProviderConnection:
    """Implements ProviderHttp for one integration.

    Retries (`retries` of them) wait `BACKOFF_SECONDS * 2^n` with full jitter, or what `Retry-After` says up to
    10 s, as long as the host's shared retry budget and 45 s in all last. `account` (the integration's id) is
    whose 429 pauses are kept. `secrets` never appear in a failure's text. `allow_tls_1_2` lowers the TLS floor.
    `token` is replaced after a 401, and the request repeated once; later requests carry the new one. `work` reads
    large answers.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        circuits: Circuits | None = None,
        clock: Clock | None = None,
        account: str = "",
        secrets: Collection[str] = (),
        allow_tls_1_2: bool = False,
        retries: int = RETRIES,
        token: RenewableToken | None = None,
        work: TenantWork = UNPROTECTED,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,  # noqa: S311 - spreads load, guards nothing
    ) -> None:
        self._transport = transport
        self._circuits = circuits if circuits is not None else Circuits()
        self._clock = clock
        self._account = account
        self._secrets = tuple(secrets)
        self._allow_tls_1_2 = allow_tls_1_2
        self._retries = retries
        self._given_token = token
        self._token = token.value if token is not None else ""
        self._is_refused = False
        self._work = work
        self._sleep = sleep
        self._jitter = jitter

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        return await with_body_read(request, await self._sent(request), self._work)

    async def _sent(self, request: ProviderRequest) -> ProviderResponse:
        used = self._token
        response = await self._send(self._carrying(request, used))
        if response.status != 401 or not self._carries_token(request):
            return response
        newer = await self._token_instead_of(used)
        if newer is None:
            return response
        response = await self._send(self._carrying(request, newer))
        # What a fresh token does not mend, the next one does not mend either.
        self._is_refused = self._is_refused or response.status == 401
        return response

    def _carries_token(self, request: ProviderRequest) -> bool:
        given = self._given_token
        return given is not None and any(given.value in value for value in request.headers.values())

    def _carrying(self, request: ProviderRequest, token: str) -> ProviderRequest:
        given = self._given_token
        if given is None or token == given.value:
            return request
        headers = {name: value.replace(given.value, token) for name, value in request.headers.items()}
        return replace(request, headers=headers)

    async def _token_instead_of(self, refused: str) -> str | None:
        """Return a newer token, None where there is none or it would be refused as well. Raises ProviderFailure."""
        if self._given_token is None or self._is_refused:
            return None
        if self._token == refused:
            newer = await asyncio.to_thread(self._given_token.renew, refused)
            if newer is None:
                return None
            self._token = newer
            self._secrets = (*self._secrets, newer)
        return self._token

    async def _send(self, request: ProviderRequest) -> ProviderResponse:
        outgoing, host = self._encode(request), self._host(request.url)
        self._refuse_while_held(host)
        spent = 0.0
        for tried in itertools.count():
            outcome = await self._try(outgoing, host)
            wait = self._wait(request, outcome, tried)
            if wait is None or not self._circuits.take_retry(host):
                break
            spent += wait + outcome.duration_ms / 1000
            if spent > CALL_SECONDS_MAX:
                break
            await self._sleep(wait)
            if self._circuits.admit(host) is not None:
                break
        return self._conclude(outcome, host)

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        response = await self.send(request)
        wanted = response.status in statuses if statuses else 200 <= response.status < 300
        if wanted:
            return response
        raise ProviderFailure(
            failure_kind(response),
            describe(request, response, self._secrets),
            status=response.status,
            retry_after_seconds=asked_wait(response, self._now()),
        )

    async def _try(self, outgoing: httpx.Request, host: TenantHost) -> ProviderResponse | OutboundError:
        try:
            with acting_for(self._work.tenant):
                response = await self._transport.handle_async_request(outgoing)
            body = b"".join([part async for part in cast("httpx.AsyncByteStream", response.stream)])
        except OutboundError as error:
            # A blocked address or bad certificate says nothing about whether the host is up.
            (self._circuits.failed if error.kind in _RETRIED_ERRORS else self._circuits.abandoned)(host)
            return error
        except BaseException:
            self._circuits.abandoned(host)
            raise
        status, told = response.status_code, response.extensions
        is_whole, is_cut = told.get("whole", True), told.get("is_cut", False)
        missing = None if is_whole and not is_cut else told.get("flaw") or "Part of it is missing"
        (self._circuits.failed if status >= 500 or not is_whole else self._circuits.succeeded)(host)
        return ProviderResponse(
            status, dict(response.headers), body, told.get("duration_ms", 0), missing, is_too_long=is_cut
        )

    def _wait(
        self, request: ProviderRequest, outcome: ProviderResponse | OutboundError, tried: int
    ) -> float | None:
        """Return the seconds until the next try, None when there is none."""
        if tried >= self._retries or not _may_repeat(request, outcome):
            return None
        backoff = min(BACKOFF_SECONDS * 2.0**tried, BACKOFF_SECONDS_MAX) * self._jitter()
        if isinstance(outcome, OutboundError):
            return backoff
        asked = asked_wait(outcome, self._now())
        if asked is None:
            return backoff
        return None if asked > RETRY_AFTER_SECONDS_MAX else max(asked, backoff)

    def _conclude(self, outcome: ProviderResponse | OutboundError, host: TenantHost) -> ProviderResponse:
        if isinstance(outcome, OutboundError):
            raise ProviderFailure("unavailable", f"{outcome.detail}.") from None
        if is_rate_limit(outcome):
            asked = asked_wait(outcome, self._now())
            if asked:
                self._circuits.pause(host, self._account, min(asked, PAUSE_SECONDS_MAX))
        return outcome

    def _refuse_while_held(self, host: TenantHost) -> None:
        left = self._circuits.paused_for(host, self._account)
        if left is not None:
            raise ProviderFailure(
                "rate_limited", "The provider asked to wait before the next call.", retry_after_seconds=left
            )
        closed_for = self._circuits.admit(host)
        if closed_for is not None:
            raise ProviderFailure(
                "unavailable",
                "The provider has not been answering; calls are held back until it recovers.",
                retry_after_seconds=closed_for,
            )

    def _encode(self, request: ProviderRequest) -> httpx.Request:
        import httpx  # here: most triggers call no provider

        body, content_type = _body(request)
        headers = dict(request.headers)
        if content_type and not any(name.lower() == "content-type" for name in headers):
            headers["content-type"] = content_type
        url = _url(request)
        extensions = {
            "raw_url": url,
            "repeatable": _is_idempotent(request),
            "timeout_seconds": request.timeout_seconds,
            "max_response_bytes": request.max_response_bytes,
            "allow_tls_1_2": self._allow_tls_1_2,
        }
        try:
            parsed = parsed_url(url)
            if not any(name.lower() == "host" for name in headers):
                # httpx would decode the name to see whether there is one, which not every name of DNS bears.
                headers = {"host": parsed.netloc.decode("ascii"), **headers}
            return httpx.Request(request.method, parsed, headers=headers, content=body, extensions=extensions)
        except (httpx.InvalidURL, ValueError):
            raise ProviderFailure(
                "unavailable", "The request cannot be sent: its method, URL or headers are not valid HTTP."
            ) from None

    def _host(self, url: str) -> TenantHost:
        try:
            parts = urlsplit(url)
            return TenantHost(self._work.tenant, f"{parts.scheme}://{parts.hostname}:{parts.port or ''}")
        except ValueError:
            return TenantHost(self._work.tenant, url)

    def _now(self) -> datetime:
        return self._clock.now() if self._clock is not None else datetime.now(UTC)


class HttpProviderConnections:
    """Implements OpenHttp: connections of one process, which share its circuits."""

    def __init__(
        self,
        transport: Callable[[], httpx.AsyncBaseTransport],
        clock: Clock,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`transport` is asked for with the first connection: most triggers call no provider."""
        self._transport = transport
        self._sleep = sleep
        self._clock = clock
        self._circuits = Circuits()

    def __call__(
        self,
        *,
        account: str,
        secrets: Collection[str],
        allow_tls_1_2: bool,
        retries: int,
        token: RenewableToken | None = None,
        work: TenantWork = UNPROTECTED,
    ) -> HttpProviderConnection:
        return HttpProviderConnection(
            self._transport(),
            # A health probe is what tells whether a host is back: nothing may hold it back.
            circuits=self._circuits if retries else Circuits(),
            clock=self._clock,
            account=account,
            secrets=secrets,
            allow_tls_1_2=allow_tls_1_2,
            retries=retries,
            token=token,
            work=work,
            sleep=self._sleep,
        )


def _may_repeat(request: ProviderRequest, outcome: ProviderResponse | OutboundError) -> bool:
    idempotent = _is_idempotent(request)
    if isinstance(outcome, OutboundError):
        # No connection: nothing was sent, so any request may be repeated.
        return outcome.kind == "connect" or (idempotent and outcome.kind in _RETRIED_ERRORS)
    again = outcome.status in _RETRIED_STATUSES or (
        outcome.missing is not None and not outcome.is_too_long and outcome.status < 300
    )
    return is_rate_limit(outcome) or (idempotent and again)


def _is_idempotent(request: ProviderRequest) -> bool:
    """Tell whether the request may be sent twice: by its method, or because it carries the vendor's idempotency key."""
    if request.idempotent is not None:
        return request.idempotent
    return request.method.upper() in _IDEMPOTENT


def _body(request: ProviderRequest) -> tuple[bytes, str | None]:
    if request.body is not None:
        return request.body, None
    if request.form is not None:
        return urlencode(request.form).encode(), "application/x-www-form-urlencoded"
    if request.json is not None:
        encoded = json.dumps(request.json, separators=(",", ":"), ensure_ascii=False)
        return encoded.encode(), "application/json"
    return b"", None


def _url(request: ProviderRequest) -> str:
    if not request.params:
        return request.url
    return f"{request.url}{'&' if '?' in request.url else '?'}{urlencode(request.params, quote_via=quote)}"
