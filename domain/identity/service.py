"""From a request's credentials to a principal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID

from domain.errors import Unauthenticated
from domain.identity.model import Principal
from domain.identity.ports import TokenVerifier
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the request carried: the Authorization header, and X-MS-CLIENT-PRINCIPAL, which counts only where
    App Service Authentication is trusted. Neither appears in a repr."""

    authorization: str | None = field(default=None, repr=False)
    client_principal: str | None = field(default=None, repr=False)


class Authenticator:
    """Every endpoint's first step (section 8.1)."""

    def __init__(
        self,
        verifier: TokenVerifier,
        units: UnitsOfWork,
        clock: Clock,
        *,
        from_client_principal: Callable[[str | None], Principal | None],
    ) -> None:
        self._verifier = verifier
        self._units = units
        self._clock = clock
        self._from_client_principal = from_client_principal
        self._seen: OrderedDict[tuple[UUID, UUID], None] = OrderedDict()
        self._lock = Lock()

    def authenticate(self, credentials: Credentials) -> Principal:
        """Raises Unauthenticated, or Unavailable when the issuer's keys cannot be had."""
        principal = self._principal(credentials)
        self._remember(principal)
        return principal

    def _principal(self, credentials: Credentials) -> Principal:
        if credentials.authorization:
            scheme, _, token = credentials.authorization.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthenticated("The Authorization header must be `Bearer <token>`.")
            return self._verifier.verify(token.strip())
        vouched = self._from_client_principal(credentials.client_principal)
        if vouched is not None:
            return vouched
        raise Unauthenticated("Credentials are needed: send `Authorization: Bearer <token>`.")

    def _remember(self, principal: Principal) -> None:
        """Rows refer to Users; a user met before in this process costs nothing."""
        key = (principal.tenant_id, principal.user_id)
        with self._lock:
            if key in self._seen:
                return
        with self._units.write() as unit:
            unit.users.see(principal.tenant_id, principal.user_id, principal.name, self._clock.now())
            unit.commit()
        with self._lock:
            self._seen[key] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
