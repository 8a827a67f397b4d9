"""Who is calling; apart from the permissions, because every use case takes a Principal and few name a permission."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.core.errors import Forbidden


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Where a request came from, for the audit log: `client` is its User-Agent, `country` as a proxy tells it."""

    ip: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    client: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A user of a tenant, or an API key that acts for the user who created it.

    - `expires_at` is when its token or key expires; None where it does not, or does not say.
    - `email` is what the token claims, and no proof of who it is; None of a key."""

    tenant_id: UUID
    user_id: UUID
    permissions: frozenset[str]
    name: str = ""
    api_key_id: UUID | None = None
    origin: RequestOrigin = field(default=RequestOrigin(), compare=False)
    expires_at: datetime | None = field(default=None, compare=False)
    email: str | None = field(default=None, compare=False, repr=False)

    def require(self, permission: str) -> None:
        """Raise Forbidden, with the name of the permission, unless the caller has it."""
        if permission not in self.permissions:
            detail = f"This needs the permission '{permission}', which the caller does not have."
            raise Forbidden(detail, scopes=(permission,))

    def require_of_person(self, permission: str) -> None:
        """Raise Forbidden unless a person calls and has the permission; what stands in an API key does not count."""
        self.require(permission)
        if self.api_key_id is not None:
            raise Forbidden("Only a person administers the platform, no API key.")


EMAIL_ADDRESS = re.compile(r"[^@\s<>,;]{1,64}@[A-Za-z0-9.-]{1,253}")
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def guid(value: object) -> UUID | None:
    """Return the GUID in its one canonical spelling (8-4-4-4-12 hexadecimal digits), else None.

    `UUID()` also takes braces, URNs and digits of other scripts; but one tenant must not have several names."""
    return UUID(value) if isinstance(value, str) and _GUID.fullmatch(value) else None
