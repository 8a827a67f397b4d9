"""The audit log proves itself to people who do not trust the database, nor those who can write to it."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.errors import Conflict, Forbidden, NotFound, Unavailable, ValidationFailed
from domain.journal.audit_heads import public_key_of, read_note, verifier_key
from domain.journal.audit_log import AuditService, InclusionProof
from domain.journal.audit_signing import AuditHeads
from infra.app.build import build
from infra.audit_signing import SecretStoreSigner, holds
from infra.audit_verify import Unproven, main, verify_export, verify_proof
from infra.embedded.checkpoints import EmbeddedCheckpoints
from infra.sql.journal.tables import pending_alerts
from tests.worlds.apikey_world import ApiKeyWorld
from tests.worlds.audit_tampering import rewrite_the_whole_chain, write


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    """Five rows, all of them signed."""
    made = ApiKeyWorld(tmp_path)
    for _ in range(5):
        made.issue()
    assert made.hub.use(AuditHeads).sign_new() == 1
    return made


def keys_of(world: ApiKeyWorld) -> list[bytes]:
    return world.hub.use(AuditService).public_keys(world.admin)


def test_a_log_that_nobody_touched_holds_against_its_signed_head(world: ApiKeyWorld) -> None:
    world.issue()
    report = world.hub.use(AuditService).verify(world.admin)
    assert (report.intact, report.rows, report.cursor) == (True, 6, None)
    assert report.checkpoint is not None
    assert (report.checkpoint.sequence, report.checkpoint.holds) == (5, True)


def test_a_head_of_another_tenant_does_not_serve(world: ApiKeyWorld) -> None:
    stranger = world.user()
    world.issue(stranger)
    world.hub.use(AuditHeads).sign_new()
    theirs = world.hub.checkpoints.latest(stranger.tenant_id)
    assert theirs is not None
    world.hub.checkpoints.put(world.admin.tenant_id, 50, theirs)
    assert world.hub.use(AuditService).verify(world.admin).reason == (
        "The newest kept head does not hold. It is another tenant's."
    )


def test_a_long_log_is_verified_in_steps_that_find_the_same(world: ApiKeyWorld) -> None:
    for _ in range(3):
        world.issue()
    service = world.hub.use(AuditService)
    whole = service.verify(world.admin)
    service_in_steps, cursor, steps = service, None, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain.journal.audit_check.CHUNK", 2)
        while True:
            world.clock.advance(seconds=1)
            report = service_in_steps.verify(world.admin, cursor=cursor, most=3)
            steps, cursor = steps + 1, report.cursor
            if cursor is None:
                break
            assert report.intact
            assert str(world.admin.tenant_id) not in cursor
    assert steps > 1
    assert report == whole
    rewrite_the_whole_chain(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain.journal.audit_check.CHUNK", 1)
        first = service.verify(world.admin, most=1)
        assert first.intact
        assert service.verify(world.admin, cursor=first.cursor, most=1).first_broken == 2


def test_a_cursor_of_another_tenant_or_none_at_all_is_refused(world: ApiKeyWorld) -> None:
    service = world.hub.use(AuditService)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain.journal.audit_check.CHUNK", 2)
        cursor = service.verify(world.admin, most=1).cursor
    assert cursor is not None
    for given, caller in ((cursor, world.user()), ('[6,"",0,true,0,[]]', world.admin)):
        with pytest.raises(ValidationFailed, match="cursor"):
            service.verify(caller, cursor=given)


def test_every_row_has_a_proof_that_holds_with_the_public_key_alone(world: ApiKeyWorld) -> None:
    service, keys = world.hub.use(AuditService), keys_of(world)
    for sequence in range(1, 6):
        proof = service.prove(world.admin, sequence)
        told = verify_proof(as_json(proof), keys)
        assert told.startswith(f"Row {sequence} is in the log whose 5 rows were signed")
        for changed in ("row", "sequence", "leafIndex", "path", "head"):
            with pytest.raises(Unproven):
                verify_proof(as_json(proof) | {changed: other(as_json(proof)[changed])}, keys)
    with pytest.raises(Unproven, match="No key"):
        verify_proof(as_json(service.prove(world.admin, 1)), [b"\1" * 32])


def as_json(proof: object) -> dict[str, object]:
    assert isinstance(proof, InclusionProof)
    return {
        "sequence": proof.sequence,
        "row": proof.row,
        "leafHash": proof.leaf.hex(),
        "leafIndex": proof.index,
        "path": [step.hex() for step in proof.path],
        "head": proof.note,
    }


def other(value: object) -> object:
    if isinstance(value, list):
        return value[1:]
    if isinstance(value, int):
        return value + 1
    return str(value).replace("1", "2", 1)


def test_a_row_that_no_head_covers_yet_is_told_from_one_that_is_not_there(world: ApiKeyWorld) -> None:
    world.issue()
    service = world.hub.use(AuditService)
    with pytest.raises(Conflict) as refused:
        service.prove(world.admin, 6)
    assert refused.value.code == "not-signed-yet"
    for sequence in (0, 7):
        with pytest.raises(NotFound):
            service.prove(world.admin, sequence)
    world.hub.use(AuditHeads).sign_new()
    assert service.prove(world.admin, 6).head.size == 6


def test_before_anything_was_signed_a_row_that_is_not_there_is_told_from_one_that_is(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    world.issue()
    for sequence, refusal in ((0, NotFound), (1, Conflict), (2, NotFound)):
        with pytest.raises(refusal):
            world.hub.use(AuditService).prove(world.admin, sequence)


def test_what_retention_removed_can_still_be_proven_by_whoever_kept_the_row__17_2(world: ApiKeyWorld) -> None:
    service = world.hub.use(AuditService)
    kept = service.prove(world.admin, 2).row
    world.clock.advance(days=400)
    for _ in range(2):
        world.issue()
    world.hub.use(AuditHeads).sign_new()
    assert service.forget_old() == 5
    report = service.verify(world.admin)
    assert (report.intact, report.rows) == (True, 2)
    proof = service.prove(world.admin, 2)
    assert proof.row is None
    assert kept is not None
    verify_proof(as_json(proof) | {"row": kept}, keys_of(world))
    with pytest.raises(Unproven):
        verify_proof(as_json(proof) | {"row": kept.replace("Key", "Cat")}, keys_of(world))


def exported(world: ApiKeyWorld, limit: int = 100, after: int = 0) -> str:
    text, following = world.hub.use(AuditService).export(world.admin, after, limit)
    while following is not None:
        part, following = world.hub.use(AuditService).export(world.admin, following, limit)
        text += part
    return text


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
@pytest.mark.parametrize("after", [0, 1, 4, 5])
def test_an_export_is_verified_offline_from_any_row_on(world: ApiKeyWorld, limit: int, after: int) -> None:
    world.issue()
    told = verify_export(exported(world, limit, after).splitlines(), keys_of(world))
    assert told.startswith(f"{6 - after} rows hold; those up to 5 were signed at ")
    assert told.endswith(" 1 newer rows follow them and were not signed yet.")


def row_changed(number: int) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        return [
            line.replace("apikey.created", "apikey.updated") if f'"sequence":{number}' in line else line
            for line in lines
        ]

    return change


def origin_changed(lines: list[str]) -> list[str]:
    return [lines[0].replace("integration-hub/audit", "integration-hub/other"), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: lines[:-1], "ends before"),
        (lambda lines: [*lines[:3], *lines[4:]], "is missing"),
        (lambda lines: lines[1:], "does not begin"),
        (lambda lines: [], "empty"),
        (row_changed(3), "does not follow"),
        (row_changed(5), "not those that were signed"),
        (origin_changed, "not a signed"),
        (lambda lines: [*lines, "]"], "no JSON object"),
    ],
)
def test_an_export_that_was_changed_proves_nothing(
    world: ApiKeyWorld, change: Callable[[list[str]], list[str]], reason: str
) -> None:
    lines = exported(world).splitlines()
    with pytest.raises(Unproven, match=reason):
        verify_export(change(lines), keys_of(world))


def test_the_command_says_what_holds_and_what_does_not(
    world: ApiKeyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export, proof = tmp_path / "log.ndjson", tmp_path / "proof.json"
    export.write_text(exported(world, limit=2))
    proof.write_text(json.dumps(as_json(world.hub.use(AuditService).prove(world.admin, 4))))
    key = verifier_key(keys_of(world)[0])
    assert main([str(export), "--key", key]) == 0
    assert main([str(proof), "--key", key]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("5 rows hold; those up to 5 were signed at ")
    assert told[1].startswith("Row 4 is in the log")
    export.write_text(export.read_text().replace("192.0.2.1", "192.0.2.7"))
    assert main([str(export), "--key", key]) == 1
    assert "NOT PROVEN" in capsys.readouterr().err


def test_rows_of_before_the_trees_join_them_in_bounded_steps(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    for _ in range(7):
        world.issue()
    hub = world.hub
    small = AuditHeads(
        hub.transactions, world.clock, signer=hub.head_signer, checkpoints=hub.checkpoints, chunk=2, tenants=1
    )
    assert small.sign_new(most=2) == 1, "a head is signed for what has joined"
    assert small.sign_new() == 1
    assert small.sign_new() == 0, "nothing is new"
    report = hub.use(AuditService).verify(world.admin)
    assert report.checkpoint is not None
    assert (report.checkpoint.sequence, report.checkpoint.holds) == (7, True)


def test_each_tenant_has_its_own_tree_and_all_are_signed_page_by_page(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    callers = [world.user() for _ in range(5)]
    for caller in callers:
        world.issue(caller)
    hub = world.hub
    heads = AuditHeads(
        hub.transactions, world.clock, signer=hub.head_signer, checkpoints=hub.checkpoints, tenants=2
    )
    assert heads.sign_new() == 5
    assert [hub.use(AuditService).prove(caller, 1).head.size for caller in callers] == [1] * 5


def test_a_run_does_no_more_than_it_may(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    for caller in [world.user() for _ in range(5)]:
        world.issue(caller)
    assert world.hub.use(AuditHeads).sign_new(most=2) == 2
    assert world.hub.use(AuditHeads).sign_new(most=2) == 2
    assert world.hub.use(AuditHeads).sign_new() == 1


def test_a_row_that_was_changed_before_it_was_signed_is_told_and_never_signed(world: ApiKeyWorld) -> None:
    world.issue()
    world.issue()
    write(world, "UPDATE AuditLog SET Action = 'apikey.revoked' WHERE Sequence = 7")
    assert world.hub.use(AuditHeads).sign_new() == 1
    world.clock.advance(minutes=15)
    assert world.hub.use(AuditHeads).sign_new() == 0
    with world.hub.transactions.read() as tx:
        state = tx.audit_tree.state(world.admin.tenant_id)
    assert state is not None
    assert state.size == 6
    with world.hub.database.read() as connection:
        told = [row["Data"] for row in connection.execute(pending_alerts.select()).mappings()]
    assert any("row 7 cannot be signed" in text for text in told)


class Away(EmbeddedCheckpoints):
    """A store that cannot be reached."""

    def put(self, tenant_id: UUID, size: int, note: str) -> None:
        raise Unavailable("away")


def test_while_heads_cannot_be_kept_none_counts_as_signed(world: ApiKeyWorld, tmp_path: Path) -> None:
    world.issue()
    hub = build(world.hub.settings, clock=world.clock, checkpoints=Away(tmp_path))
    with pytest.raises(Unavailable):
        hub.use(AuditHeads).sign_new()
    with pytest.raises(Conflict):
        hub.use(AuditService).prove(world.admin, 6)
    assert world.hub.use(AuditHeads).sign_new() == 1


def test_each_head_is_a_line_of_the_log_too(world: ApiKeyWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.issue()
    with caplog.at_level(logging.INFO, logger="hub.audit"):
        world.hub.use(AuditHeads).sign_new()
    [line] = [record for record in caplog.records if record.getMessage() == "audit head signed"]
    head = read_note(vars(line)["note"], keys_of(world), holds)
    assert (head.tenant_id, head.size, vars(line)["auditSequence"]) == (world.admin.tenant_id, 6, 6)


def test_after_a_rotation_of_the_key_older_heads_hold_and_new_ones_are_signed_anew(
    world: ApiKeyWorld,
) -> None:
    old = keys_of(world)
    signer = world.hub.head_signer
    assert isinstance(signer, SecretStoreSigner)
    signer.rotate()
    assert keys_of(world)[1:] == old
    assert world.hub.use(AuditService).verify(world.admin).intact
    world.issue()
    world.hub.use(AuditHeads).sign_new()
    proof = world.hub.use(AuditService).prove(world.admin, 1)
    with pytest.raises(ValueError, match="No key"):
        read_note(proof.note, old, holds)
    assert read_note(proof.note, keys_of(world)[:1], holds).size == 6


def test_keys_are_read_in_both_forms_and_refused_in_any_other(world: ApiKeyWorld) -> None:
    [key] = keys_of(world)
    assert public_key_of(verifier_key(key)) == public_key_of(b64encode(key).decode()) == key
    name, _, encoded = verifier_key(key).partition("+")
    for text in (
        "",
        "not base64!",
        b64encode(key[1:]).decode(),
        b64encode(b"\x02" + key).decode(),
        f"{name}+00000000+{encoded.partition('+')[2]}",
    ):
        with pytest.raises(ValueError, match="key"):
            public_key_of(text)


def test_all_of_it_needs_the_permission(world: ApiKeyWorld) -> None:
    nobody = world.user("integration:manage", tenant=world.admin.tenant_id)
    service = world.hub.use(AuditService)
    for act in (
        lambda: service.prove(nobody, 1),
        lambda: service.export(nobody, 0, 10),
        lambda: service.public_keys(nobody),
    ):
        with pytest.raises(Forbidden, match="audit:read"):
            act()
