"""The audit log: what it says, and that it cannot be altered unnoticed."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from domain.apikeys.model import RotateApiKey, UpdateApiKey
from domain.apikeys.service import ApiKeyService
from domain.core.errors import Forbidden
from domain.core.paging import PageRequest
from domain.journal.audit import REDACTED, AuditEntry, AuditFilter, AuditRecord, redacted
from domain.journal.audit_log import AuditService
from domain.journal.audit_signing import AuditHeads
from infra.sql.engine import DATABASE_FILE
from tests.worlds.apikey_world import START, ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    made = ApiKeyWorld(tmp_path)
    first = made.issue(keyName="First", scopes=["events:read", "bookings:write"])
    key_id = first.key.api_key_id
    made.hub.use(ApiKeyService).update(made.admin, key_id, UpdateApiKey(scopes=["events:read"]), None)
    made.hub.use(ApiKeyService).rotate(made.admin, key_id, RotateApiKey(), None)
    made.hub.use(ApiKeyService).confirm_rotation(made.admin, key_id)
    return made


def records(world: ApiKeyWorld, **conditions: object) -> list[AuditRecord]:
    page = world.hub.use(AuditService).page(world.admin, AuditFilter(**conditions), PageRequest())  # type: ignore[arg-type]
    return list(reversed(page.items))


def tamper(world: ApiKeyWorld, statement: str, *values: object) -> None:
    connection = sqlite3.connect(world.hub.settings.home / DATABASE_FILE)
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def test_every_operation_on_keys_is_there_with_who_what_and_where_from(world: ApiKeyWorld) -> None:
    found = records(world)
    assert [record.action for record in found] == [
        "apikey.created",
        "apikey.updated",
        "apikey.rotated",
        "apikey.created",
        "apikey.revoked",
    ]
    assert [record.sequence for record in found] == [1, 2, 3, 4, 5]
    updated = found[1]
    assert updated.before is not None
    assert updated.after is not None
    assert json.loads(updated.before)["scopes"] == ["events:read", "bookings:write"]
    assert json.loads(updated.after)["scopes"] == ["events:read"]
    assert updated.actor_user_id == world.admin.user_id
    assert (updated.ip_address, updated.request_id, updated.trace_id) == ("192.0.2.1", "request-1", "ab" * 16)
    assert world.hub.use(AuditService).verify(world.admin).intact


def test_it_filters_by_actor_action_target_and_time(world: ApiKeyWorld) -> None:
    world.clock.advance(hours=1)
    other = world.issue(world.user("integration:manage", tenant=world.admin.tenant_id))
    assert len(records(world, action="apikey.created")) == 3
    assert len(records(world, action="apikey.*")) == 6
    assert records(world, action="webhook.*") == []
    assert len(records(world, actor_id=world.admin.user_id)) == 5
    assert len(records(world, target_id=str(other.key.api_key_id))) == 1
    assert len(records(world, since=START + timedelta(minutes=1))) == 1
    assert len(records(world, until=START + timedelta(minutes=1))) == 5


@pytest.mark.parametrize("sequence", [1, 3, 5])
@pytest.mark.parametrize(
    "column",
    [
        "Action",
        "TargetId",
        "After",
        "IpAddress",
        "Hash",
        "PreviousHash",
        "OccurredAt",
        "ActorUserId",
        "TenantId",
    ],
)
def test_one_byte_changed_in_one_row_is_named(world: ApiKeyWorld, sequence: int, column: str) -> None:
    if column == "PreviousHash" and sequence == 1:
        tamper(world, "UPDATE AuditLog SET PreviousHash = '0' WHERE Sequence = 1")
    else:
        tamper(
            world,
            f"UPDATE AuditLog SET {column} = substr({column}, 1, 3) || CASE substr({column}, 4, 1)"
            f" WHEN 'f' THEN 'e' ELSE 'f' END || substr({column}, 5) WHERE Sequence = ?",
            sequence,
        )
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken) == (False, sequence)


@pytest.mark.parametrize("value", [b"\xff\xfe", "no moment", "2026-02-30T00:00:00.000000Z"])
def test_a_row_made_unreadable_is_named_not_an_error(world: ApiKeyWorld, value: object) -> None:
    tamper(world, "UPDATE AuditLog SET OccurredAt = ? WHERE Sequence = 2", value)
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken, report.reason) == (False, 2, "The row cannot be read.")


@pytest.mark.parametrize("sequence", [1, 2, 5])
def test_a_row_removed_is_named_the_newest_too(world: ApiKeyWorld, sequence: int) -> None:
    tamper(world, "DELETE FROM AuditLog WHERE Sequence = ?", sequence)
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken, report.reason) == (False, sequence, "The row is missing.")


def test_a_row_added_by_hand_is_named(world: ApiKeyWorld) -> None:
    tamper(
        world,
        "INSERT INTO AuditLog SELECT TenantId, 6, OccurredAt, ActorUserId, ActorKeyId, Action, TargetType,"
        " TargetId, Before, After, RequestId, TraceId, IpAddress, Hash, Hash FROM AuditLog WHERE Sequence = 5",
    )
    assert world.hub.use(AuditService).verify(world.admin).first_broken == 6


def test_what_retention_leaves_still_verifies__17_2(world: ApiKeyWorld) -> None:
    world.clock.advance(days=200)
    world.issue()
    world.clock.advance(days=200)
    assert world.hub.use(AuditService).forget_old() == 0, "a row stays until its hash is signed"
    assert world.hub.use(AuditHeads).sign_new() == 1
    assert world.hub.use(AuditService).forget_old() == 5
    assert world.hub.use(AuditService).forget_old() == 0
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.rows, report.head_sequence) == (True, 1, 6)
    world.issue()
    assert world.hub.use(AuditService).verify(world.admin).rows == 2
    tamper(world, "DELETE FROM AuditLog WHERE Sequence = 6")
    assert world.hub.use(AuditService).verify(world.admin).first_broken == 6


def test_tenants_have_chains_of_their_own(world: ApiKeyWorld) -> None:
    stranger = world.user()
    world.issue(stranger)
    assert world.hub.use(AuditService).verify(stranger).head_sequence == 1
    assert world.hub.use(AuditService).page(stranger, AuditFilter(), PageRequest()).total == 1
    assert len(records(world)) == 5


def test_a_change_that_is_rolled_back_leaves_no_row(world: ApiKeyWorld) -> None:
    with world.hub.transactions.write() as tx:
        tx.audit.append(world.admin.tenant_id, AuditEntry("apikey.created", "apikey", "x"))
    assert len(records(world)) == 5


def test_reading_it_needs_the_permission(world: ApiKeyWorld) -> None:
    nobody = world.user("integration:manage", tenant=world.admin.tenant_id)
    with pytest.raises(Forbidden, match="audit:read"):
        world.hub.use(AuditService).page(nobody, AuditFilter(), PageRequest())
    with pytest.raises(Forbidden, match="audit:read"):
        world.hub.use(AuditService).verify(nobody)


def test_secrets_are_blacked_out_wherever_they_hide() -> None:
    state = {
        "key": "ihk_x",
        "clientSecret": "s",
        "nested": [{"api_key": "a", "url": "https://example.com", "accessToken": None}],
        "previousSecretExpiresAt": "2026-03-01T00:00:00Z",
        "apiKeyId": "1",
        "keyName": "Mobile",
    }
    assert redacted(state) == {
        "key": REDACTED,
        "clientSecret": REDACTED,
        "nested": [{"api_key": REDACTED, "url": "https://example.com", "accessToken": None}],
        "previousSecretExpiresAt": "2026-03-01T00:00:00Z",
        "apiKeyId": "1",
        "keyName": "Mobile",
    }
