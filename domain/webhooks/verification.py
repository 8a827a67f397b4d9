"""Verification of a receiver (UC-WH-01 steps 5-7): it must be reachable and mean to receive."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from domain.errors import FieldError, ValidationFailed
from domain.ports import Clock, IdGenerator, OutboundError, OutboundHttp, OutboundRequest
from domain.webhooks.model import VERIFICATION_EVENT
from domain.webhooks.signing import signed_headers
from domain.wire import rfc3339


@dataclass(frozen=True, slots=True)
class Verification:
    """How it went; `detail` tells the owner of the receiver what to change."""

    verified: bool
    detail: str
    http_status_code: int | None = None


class Verifier:
    """Sends the signed challenge."""

    def __init__(
        self,
        http: OutboundHttp,
        clock: Clock,
        ids: IdGenerator,
        *,
        demand: Literal["challenge", "any-2xx"],
        timeout_seconds: float,
    ) -> None:
        self._http = http
        self._clock = clock
        self._ids = ids
        self._demand = demand
        self._timeout_seconds = timeout_seconds

    async def check_address(self, url: str) -> None:
        """Refuse an address the product may never call. Raises ValidationFailed; a name that does not resolve
        yet is no reason to refuse."""
        try:
            await self._http.check(url)
        except OutboundError as error:
            if error.kind == "blocked":
                raise ValidationFailed(
                    error.detail, [FieldError("/url", error.detail)], code="address-not-allowed"
                ) from error

    async def verify(self, webhook_id: UUID, url: str, secret: str) -> Verification:
        """Post `webhook.verification`; the receiver answers 2xx and `{"challenge": "..."}`."""
        challenge = secrets.token_urlsafe(32)
        now = self._clock.now()
        message_id = str(self._ids.new())
        body = json.dumps(
            {
                "type": VERIFICATION_EVENT,
                "timestamp": rfc3339(now),
                "id": message_id,
                "data": {"challenge": challenge, "webhookId": str(webhook_id)},
            },
            separators=(",", ":"),
        ).encode()
        request = OutboundRequest(
            "POST",
            url,
            signed_headers([secret], message_id, now, body),
            body,
            timeout_seconds=self._timeout_seconds,
        )
        try:
            response = await self._http.send(request)
        except OutboundError as error:
            return Verification(False, f"The receiver could not be reached ({error.kind}): {error.detail}")
        if not 200 <= response.status < 300:
            return Verification(
                False, f"The receiver answered {response.status}; a 2xx is needed.", response.status
            )
        if self._demand == "challenge" and _echoed(response.body) != challenge:
            return Verification(
                False,
                'The receiver must answer with JSON {"challenge": "..."} holding data.challenge of the request.',
                response.status,
            )
        return Verification(True, "Verified.", response.status)


def _echoed(body: bytes) -> object:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer.get("challenge") if isinstance(answer, dict) else None
