"""`POST /api/apikeys/verify`: a sibling service asks whether a key it was given is good (DESIGN section 2)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from domain.apikeys.gate import Gate, Question, Ruling
from domain.apikeys.keys import parse_key, safe_prefix
from domain.apikeys.model import ApiKey, VerifyApiKey
from domain.apikeys.rules import Verdict
from domain.apikeys.service import PERMISSION
from domain.apikeys.window import RateStatus
from domain.identity.model import Principal

attempts = logging.getLogger("hub.auth")
EVERY_TENANT: Final = "apikey:verify"
INVALID: Final = "INVALID"


@dataclass(frozen=True, slots=True)
class Verified:
    """`code` is a Verdict, or INVALID where the caller may not know more; `key` and `rate` only where it may."""

    valid: bool
    code: str
    key: ApiKey | None = None
    rate: RateStatus | None = None


class KeyVerification:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def verify(self, principal: Principal, command: VerifyApiKey) -> Verified:
        """Never an error for a bad key. Keys of other tenants are as unknown, except to callers with the
        permission `apikey:verify`, who learn that such a key is valid, or that it is not, and no more.

        A valid key is charged one request, because the question stands for one; `consume: false` is free.
        Raises Forbidden, Unavailable."""
        principal.require(PERMISSION)
        plain = parse_key(command.key)
        if plain is None:
            _log(safe_prefix(command.key), Ruling(Verdict.NOT_FOUND))
            return Verified(False, Verdict.NOT_FOUND)
        everywhere = EVERY_TENANT in principal.permissions
        ruling = await self._gate.rule_soon(
            Question(
                plain.hash,
                command.scopes,
                command.ip,
                command.consume,
                tenant_id=None if everywhere else principal.tenant_id,
            )
        )
        _log(plain.prefix, ruling)
        return _shown(ruling, principal)


def _log(prefix: str, ruling: Ruling) -> None:
    """A key presented elsewhere is an attempt to authenticate as well (section 12.2)."""
    level = logging.INFO if ruling.verdict is Verdict.VALID else logging.WARNING
    if attempts.isEnabledFor(level):
        attempts.log(
            level,
            "key verified",
            extra={
                "outcome": "accepted" if ruling.verdict is Verdict.VALID else "refused",
                "reason": ruling.verdict.value,
                "keyPrefix": prefix or None,
                "apiKeyId": str(ruling.key.api_key_id) if ruling.key else None,
                "tenantId": str(ruling.key.tenant_id) if ruling.key else None,
            },
        )


def _shown(ruling: Ruling, principal: Principal) -> Verified:
    valid = ruling.verdict is Verdict.VALID
    if ruling.key is None or valid or ruling.key.tenant_id == principal.tenant_id:
        return Verified(valid, ruling.verdict, ruling.key, ruling.rate)
    return Verified(False, INVALID)
