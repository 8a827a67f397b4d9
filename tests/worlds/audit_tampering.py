"""What somebody does to an audit log who can write to the database."""

from __future__ import annotations

import sqlite3

from domain.journal.audit import AuditRecord, canonical, chained_hash
from domain.journal.merkle import Edge, leaf_hash
from infra.sql.engine import DATABASE_FILE
from tests.worlds.apikey_world import ApiKeyWorld


def write(world: ApiKeyWorld, statement: str, *values: object) -> None:
    """What somebody does who can write to the database."""
    connection = sqlite3.connect(world.hub.settings.home / DATABASE_FILE)
    with connection:
        connection.execute(statement, values)
    connection.close()


def rows_of(world: ApiKeyWorld) -> list[AuditRecord]:
    with world.hub.transactions.read() as tx:
        return [row for row in tx.audit.chain(world.admin.tenant_id, 0, 100) if isinstance(row, AuditRecord)]


def rewrite_the_whole_chain(world: ApiKeyWorld) -> None:
    """Change row 2 and compute every hash after it anew, as only the database's own records would show."""
    previous = ""
    for row in rows_of(world):
        after = row.after.replace("Key", "Other") if row.sequence == 2 and row.after else row.after
        changed = AuditRecord(
            **{name: getattr(row, name) for name in AuditRecord.__slots__ if name != "hash"}
            | {"after": after, "previous_hash": previous}
        )
        previous = chained_hash(changed)
        write(
            world,
            "UPDATE AuditLog SET After = ?, PreviousHash = ?, Hash = ? WHERE Sequence = ?",
            *(after, changed.previous_hash, previous, row.sequence),
        )
    write(world, "UPDATE Tenants SET AuditHash = ?", previous)


def rewrite_the_stored_tree(world: ApiKeyWorld) -> None:
    write(world, "DELETE FROM AuditNodes")
    edge = Edge()
    tenant = world.admin.tenant_id.hex
    with world.hub.transactions.read() as tx:
        rows = tx.audit.chain(world.admin.tenant_id, 0, 100)
    for row in rows:
        assert isinstance(row, AuditRecord)
        for node in edge.append(leaf_hash(canonical(row))):
            write(
                world,
                "INSERT INTO AuditNodes VALUES (?, ?, ?, ?)",
                *(tenant, node.level, node.position, node.hash.hex()),
            )


def cut_the_tail(world: ApiKeyWorld, last: int) -> None:
    """Remove the rows after `last`, and have the tenant's record name that one as the newest."""
    newest = rows_of(world)[last - 1]
    write(world, "DELETE FROM AuditLog WHERE Sequence > ?", last)
    write(world, "UPDATE Tenants SET AuditSequence = ?, AuditHash = ?", last, newest.hash)
