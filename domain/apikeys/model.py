"""API keys (section 2.2), and the commands about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from domain.core.ip_address import read_ip, read_network
from domain.core.text_length import TextConstraints
from domain.core.wire import Command, UtcMoment

SCOPE_PATTERN = r"^[a-z][a-z0-9-]{0,48}:[a-z][a-z0-9-]{0,48}$"


class KeyStatus(StrEnum):
    Active = "Active"
    NotYetValid = "NotYetValid"
    Expired = "Expired"
    Revoked = "Revoked"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored.

    - `quota_id`: the id of the first key of a line of rotations; all keys of the line share one quota.
    - `rotates_from`, `rotated_to`: the key's neighbours in that line.
    - `made_by_key`, `root_quota`, `given_per_hour`: of a key that a key made, its maker, the quota of the key made by a
      person from which it descends, and the limit that it was made with."""

    api_key_id: UUID
    tenant_id: UUID
    key_name: str
    key_hash: str = field(repr=False)
    key_prefix: str
    scopes: Sequence[str]
    rate_limit_per_hour: int
    created_at: datetime
    created_by: UUID
    quota_id: UUID
    expires_at: datetime | None = None
    not_before: datetime | None = None
    allowed_ips: Sequence[str] = ()
    description: str | None = None
    is_active: bool = True
    last_used_at: datetime | None = None
    usage_count: int = 0
    revoked_at: datetime | None = None
    revoked_by: UUID | None = None
    revoke_reason: str | None = None
    rotates_from: UUID | None = None
    rotated_to: UUID | None = None
    modified_at: datetime | None = None
    version: int = 1
    made_by_key: UUID | None = None
    root_quota: UUID | None = None
    given_per_hour: int | None = None

    def status(self, now: datetime) -> KeyStatus:
        """Return the status; a key expires at the very second of `expires_at` (BR-AK-04), revoked or not."""
        if not self.is_active:
            return KeyStatus.Revoked
        if self.expires_at is not None and now >= self.expires_at:
            return KeyStatus.Expired
        if self.not_before is not None and now < self.not_before:
            return KeyStatus.NotYetValid
        return KeyStatus.Active

    @property
    def is_ended_by_expiry(self) -> bool:
        """Return whether the hub revoked the key because it had expired, or because a rotation's grace was over."""
        if self.expires_at is None or self.revoked_at is None or self.revoked_by is not None:
            return False
        return self.revoked_at >= self.expires_at


def _network(value: str) -> str:
    """Return an address or a CIDR range in its canonical spelling. Host bits may be set: 10.1.2.3/8 is 10.0.0.0/8."""
    try:
        network = read_network(value)
    except ValueError:
        raise ValueError("must be an IP address or a CIDR range, such as 203.0.113.0/24") from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _without_port(value: str) -> str:
    address = read_ip(value)
    return value if address is None else str(address)


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("must not contain control characters")
    return value


KeyName = Annotated[str, TextConstraints(min_length=1, max_length=100), AfterValidator(_not_blank)]
Description = Annotated[str, TextConstraints(max_length=500)]
Scope = Annotated[str, StringConstraints(pattern=SCOPE_PATTERN)]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=100, description="`resource:action`; see GET /api/apikeys/scopes"),
    AfterValidator(_unique),
]
RatePerHour = Annotated[
    int, Field(ge=1, le=10_000, description="Requests per 60 minutes, on a sliding window (BR-AK-05)")
]
AllowedIps = Annotated[
    list[Annotated[str, TextConstraints(max_length=50), AfterValidator(_network)]],
    Field(
        max_length=50, description="Addresses or CIDR ranges the key may be used from; empty: from anywhere"
    ),
    AfterValidator(_unique),
]
Reason = Annotated[str, TextConstraints(min_length=1, max_length=400), AfterValidator(_not_blank)]


class CreateApiKey(Command):
    """Body of `POST /api/apikeys`."""

    key_name: KeyName
    scopes: Scopes
    expires_at: UtcMoment | None = Field(
        None, strict=False, description="The key is refused from this second on; never when absent"
    )
    not_before: UtcMoment | None = Field(
        None, strict=False, description="The key is refused until this second"
    )
    rate_limit_per_hour: RatePerHour = 1000
    allowed_ips: AllowedIps = []
    description: Description | None = None


class UpdateApiKey(Command):
    """Body of `PUT /api/apikeys/{id}`: the fields sent are replaced. Scopes can only be removed (BR-AK-06)."""

    key_name: KeyName | None = None
    scopes: Scopes | None = None
    rate_limit_per_hour: RatePerHour | None = None
    allowed_ips: AllowedIps | None = None
    description: Description | None = None
    is_active: bool | None = Field(
        None,
        description="Only the current value is accepted: revoke with DELETE; nothing reactivates a key (BR-AK-07)",
    )


class RevokeApiKey(Command):
    """Body of `DELETE /api/apikeys/{id}`; may be empty, and `?reason=` may be used instead."""

    reason: Reason | None = Field(None, description="Why; kept in the audit log and in the event")


class RotateApiKey(Command):
    """Body of `POST /api/apikeys/{id}/rotate`; may be empty."""

    grace_period_seconds: int = Field(
        86_400,
        ge=0,
        le=30 * 86_400,
        description="Seconds for which the old key still works; its own expiry is never postponed",
    )
    expires_at: UtcMoment | None = Field(
        None, strict=False, description="Expiry of the new key; that of the old one when absent"
    )


class VerifyApiKey(Command):
    """Body of `POST /api/apikeys/verify`."""

    key: Annotated[str, TextConstraints(min_length=1, max_length=500)] = Field(
        repr=False, description="The key as the caller presented it"
    )
    scopes: Annotated[list[Annotated[str, TextConstraints(max_length=100)]], Field(max_length=100)] = Field(
        [], description="Scopes that the key must have, all of them"
    )
    ip: Annotated[str, TextConstraints(max_length=60), AfterValidator(_without_port)] | None = Field(
        None, description="The caller's address, with or without a port; needed for keys with an allow list"
    )
    consume: bool = Field(True, description="false verifies without taking a request of the key's quota")


@dataclass(frozen=True, slots=True)
class KeyFilter:
    status: KeyStatus | None = None
    scope: str | None = None
    name_contains: str | None = None
    made_by_key: UUID | None = None
