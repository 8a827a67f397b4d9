"""Which keys belong to one rotation."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyStatus
from domain.errors import Conflict
from domain.unit_of_work import UnitOfWork


def check_no_rotation(unit: UnitOfWork, key: ApiKey, now: datetime) -> None:
    """At most two keys of a line are alive: the other end of a rotation must be over first."""
    for other_id in (key.rotated_to, key.rotates_from):
        if other_id is None:
            continue
        other = unit.api_keys.get(key.tenant_id, other_id)
        if other.status(now) in (KeyStatus.Active, KeyStatus.NotYetValid):
            raise Conflict(
                "The key is being rotated; confirm that rotation, or let its grace period end, first.",
                code="rotation-pending",
            )


def rotation_of(unit: UnitOfWork, tenant_id: UUID, api_key_id: UUID) -> tuple[ApiKey, ApiKey]:
    """The old and the new key of the rotation that either is part of. Raises NotFound, Conflict."""
    key = unit.api_keys.get(tenant_id, api_key_id)
    if key.rotated_to is not None and key.is_active:
        return key, unit.api_keys.get(tenant_id, key.rotated_to)
    if key.rotates_from is not None:
        return unit.api_keys.get(tenant_id, key.rotates_from), key
    if key.rotated_to is not None:
        return key, unit.api_keys.get(tenant_id, key.rotated_to)
    raise Conflict("The key is not being rotated.", code="no-rotation")
