"""Whoever can write the database, and wants the audit log to say otherwise."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from domain.core.errors import Conflict
from domain.journal.audit_heads import Head, key_id, read_note
from domain.journal.audit_log import AuditService
from domain.journal.audit_signing import AuditHeads
from infra.audit_signing import holds
from tests.worlds.apikey_world import ApiKeyWorld
from tests.worlds.audit_tampering import (
    cut_the_tail,
    rewrite_the_stored_tree,
    rewrite_the_whole_chain,
    write,
)


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    """Five rows, all of them signed."""
    made = ApiKeyWorld(tmp_path)
    for _ in range(5):
        made.issue()
    assert made.hub.use(AuditHeads).sign_new() == 1
    return made


@pytest.mark.parametrize("last", [1, 3, 4])
def test_a_tail_that_was_cut_off_is_missed(world: ApiKeyWorld, last: int) -> None:
    cut_the_tail(world, last)
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken) == (False, last + 1)
    assert report.reason == "Rows were cut off: a head that was signed covers row 5."
    assert report.checkpoint is not None
    assert report.checkpoint.holds is False


def test_a_chain_written_anew_is_found_at_its_first_row(world: ApiKeyWorld) -> None:
    rewrite_the_whole_chain(world)
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken) == (False, 2)
    assert report.reason == "The row was rewritten after it had been signed."


def test_a_chain_written_anew_with_its_tree_is_found(world: ApiKeyWorld) -> None:
    rewrite_the_whole_chain(world)
    rewrite_the_stored_tree(world)
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken) == (False, None)
    assert report.reason == "The rows up to 5 and their stored hashes are not those that were signed."


def test_a_log_that_was_removed_altogether_is_missed(world: ApiKeyWorld) -> None:
    for table in ("AuditLog", "AuditNodes", "AuditTrees"):
        write(world, f"DELETE FROM {table}")
    write(world, "UPDATE Tenants SET AuditSequence = 0, AuditHash = ''")
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.first_broken) == (False, 1)


def test_a_head_that_somebody_else_made_up_proves_nothing(world: ApiKeyWorld, tmp_path: Path) -> None:
    """Who can write where heads are kept, but has not the key."""
    forger = ApiKeyWorld(tmp_path / "elsewhere")
    head = Head(world.admin.tenant_id, 1, 99, b"\0" * 32, world.clock.now())
    public_key, signature = forger.hub.head_signer.sign(head.text())
    line = b64encode(key_id(public_key) + signature).decode()
    forged = f"{head.text()}\n— integration-hub-audit {line}\n"
    assert read_note(forged, [public_key], holds) == head
    world.hub.checkpoints.put(world.admin.tenant_id, 99, forged)
    report = world.hub.use(AuditService).verify(world.admin)
    assert not report.intact
    assert report.reason == "The newest kept head does not hold. No key of the hub signed it."


def test_without_the_stored_hashes_nothing_is_proven_or_signed(world: ApiKeyWorld) -> None:
    write(world, "DELETE FROM AuditNodes WHERE Level > 0")
    with pytest.raises(Conflict) as refused:
        world.hub.use(AuditService).prove(world.admin, 1)
    assert refused.value.code == "audit-broken"
    assert world.hub.use(AuditService).verify(world.admin).intact, (
        "the rows themselves are those that were signed"
    )
    world.issue()
    assert world.hub.use(AuditHeads).sign_new() == 0
