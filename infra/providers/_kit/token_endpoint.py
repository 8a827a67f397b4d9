"""Token endpoints of OAuth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domain.core.ports import Clock
from domain.oauth.ports import TokenRequest, TokenResponse
from domain.providers.contract import ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.untrusted import UNPROTECTED
from infra.providers._kit.circuit import Circuits
from infra.providers._kit.connection import HttpProviderConnection
from infra.providers._kit.rate_limits import asked_wait
from infra.providers._kit.refusal import describe
from infra.providers._kit.wire import basic

if TYPE_CHECKING:
    import httpx

#: Everything one call may take, waits included: less than the lease it runs under.
CALL_SECONDS_MAX = 30.0
_TRY_SECONDS = 12.0
_ANSWER_BYTES_MAX = 128 * 1024


class HttpTokenEndpoint:
    """Implements TokenEndpoint. Each call runs on an event loop of its own and leaves no connection behind."""

    def __init__(
        self,
        transport: Callable[[], httpx.AsyncBaseTransport],
        clock: Clock,
        *,
        circuits: Circuits | None = None,
        call_seconds_max: float = CALL_SECONDS_MAX,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._circuits = circuits if circuits is not None else Circuits()
        self._call_seconds_max = call_seconds_max

    def post(self, request: TokenRequest) -> TokenResponse:
        return asyncio.run(self._post(request))

    async def _post(self, request: TokenRequest) -> TokenResponse:
        outgoing = ProviderRequest(
            "POST",
            request.url,
            headers=_headers(request),
            form=request.form,
            timeout_seconds=min(_TRY_SECONDS, self._call_seconds_max),
            max_response_bytes=_ANSWER_BYTES_MAX,
            idempotent=False,
        )
        transport = self._transport()
        connection = HttpProviderConnection(
            transport,
            circuits=self._circuits,
            clock=self._clock,
            account=request.account,
            secrets=request.secrets,
            allow_tls_1_2=request.allow_tls_1_2,
            retries=1,
            work=replace(UNPROTECTED, tenant=request.tenant),
        )
        try:
            async with asyncio.timeout(self._call_seconds_max):
                response = await connection.send(outgoing)
        except TimeoutError:
            raise ProviderFailure("unavailable", "The authorization server did not answer in time.") from None
        finally:
            await transport.aclose()
        return self._answer(outgoing, response, request)

    def _answer(
        self, outgoing: ProviderRequest, response: ProviderResponse, request: TokenRequest
    ) -> TokenResponse:
        body = _object(response)
        tokens = [str(body[name]) for name in ("access_token", "refresh_token", "id_token") if body.get(name)]
        return TokenResponse(
            status=response.status,
            body=body,
            detail=describe(outgoing, response, [*request.secrets, *tokens]),
            retry_after_seconds=asked_wait(response, self._clock.now()),
        )


def _headers(request: TokenRequest) -> dict[str, str]:
    headers = {"accept": "application/json"}
    if request.basic is not None:
        headers["authorization"] = basic(*request.basic)
    return headers


def _object(response: ProviderResponse) -> dict[str, Any]:
    content = response.content() if response.status < 300 else response.body
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
