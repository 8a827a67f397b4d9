"""Rotate the data key that seals columns at rest, without downtime.

`python -m infra.rotate_data_key` makes a new data key and seals every column anew under it, in small batches,
beside the running product: values under the old key open as before, and each is replaced only if it is still the
one that was read. Other processes go on sealing under the old key for up to a minute, so a second pass follows
after `--wait` seconds (65).

`python -m infra.rotate_data_key --retire`, a day later, makes no key: it destroys those that no column uses any more.
Remembered answers of the last 24 hours (Idempotency-Key) are sealed too, and have aged out by then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, func, or_, select, update

from domain.core.ports import SecretStore
from domain.incoming.model import body_context
from domain.integrations.model import configuration_context
from domain.privacy.model import erasure_context
from domain.sync.model import checkpoint_context, state_context
from domain.webhooks.deliver import secret_context
from infra.sealing import SecretStoreCipher
from infra.sql.engine import Database
from infra.sql.incoming.tables import incoming_bodies
from infra.sql.integrations.tables import integrations
from infra.sql.privacy.tables import erasures
from infra.sql.sync.tables import sync_steps, sync_streams
from infra.sql.webhooks.tables import webhooks

BATCH = 100
_KEY_PREFIX = "data-key-"
_CURRENT = "data-key-current"
#: The values of a row's key.
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values; `context` makes the cipher context from the row's key, one or two columns."""

    table: Table
    key: tuple[str, ...]
    column: str
    context: Callable[..., str]

    @property
    def name(self) -> str:
        return f"{self.table.name}.{self.column}"


#: Every column that holds sealed values.
SEALED: Sequence[SealedColumn] = (
    SealedColumn(integrations, ("IntegrationId",), "Configuration", configuration_context),
    SealedColumn(integrations, ("IntegrationId",), "Account", configuration_context),
    SealedColumn(webhooks, ("WebhookId",), "Secret", secret_context),
    SealedColumn(webhooks, ("WebhookId",), "PreviousSecret", secret_context),
    SealedColumn(incoming_bodies, ("IncomingBodyId",), "Request", body_context),
    SealedColumn(sync_steps, ("DataSyncJobId", "Position"), "Checkpoint", checkpoint_context),
    SealedColumn(sync_streams, ("IntegrationId", "Stream"), "State", state_context),
    SealedColumn(erasures, ("ErasureId",), "Subject", erasure_context),
)


@dataclass(slots=True)
class ResealPass:
    """What one pass over a column did. `unreadable` values stay as they are."""

    resealed: int = 0
    unreadable: int = 0


def reseal(database: Database, cipher: SecretStoreCipher, place: SealedColumn, current: str) -> ResealPass:
    """Seal what is not under the data key `current`. Raises Unavailable."""
    outcome, after = ResealPass(), None
    while rows := _batch(database, place, current, after):
        after = rows[-1][0]
        for key, old in rows:
            context = place.context(*key)
            try:
                new = cipher.seal(cipher.open(old, context=context), context=context)
            except ValueError:
                outcome.unreadable += 1
                continue
            outcome.resealed += _replace(database, place, key, old=old, new=new)
    return outcome


def keys_in_use(database: Database) -> set[str]:
    """Return the data keys that some column still needs."""
    used: set[str] = set()
    for place in SEALED:
        column = place.table.c[place.column]
        # `v1.`, 16 hexadecimal digits.
        statement = select(func.substring(column, 4, 16)).where(column.is_not(None)).distinct()
        with database.read() as connection:
            used.update(connection.execute(statement).scalars())
    return used


def retire(secrets: SecretStore, used: set[str], current: str) -> list[str]:
    """Destroy the data keys that nothing uses; returns their ids."""
    names = [name for name in secrets.names(_KEY_PREFIX) if name != _CURRENT]
    unused = [name for name in names if name.removeprefix(_KEY_PREFIX) not in used | {current}]
    for name in unused:
        secrets.delete(name)
    return [name.removeprefix(_KEY_PREFIX) for name in unused]


def _batch(database: Database, place: SealedColumn, current: str, after: Key | None) -> list[tuple[Key, str]]:
    keys = [place.table.c[name] for name in place.key]
    column = place.table.c[place.column]
    stale = column.is_not(None) & column.not_like(f"v1.{current}.%")
    statement = select(*keys, column).where(stale).order_by(*keys).limit(BATCH)
    if after is not None:
        statement = statement.where(_beyond(keys, after))
    with database.read() as connection:
        return [(tuple(row[:-1]), row[-1]) for row in connection.execute(statement)]


def _beyond(keys: Sequence[Column[Any]], after: Key) -> ColumnElement[bool]:
    """Past a key of one or two columns, in their order."""
    first = keys[0] > after[0]
    return first if len(keys) == 1 else or_(first, and_(keys[0] == after[0], keys[1] > after[1]))


def _replace(database: Database, place: SealedColumn, key: Key, *, old: str, new: str) -> int:
    """Return 1, or 0 when someone changed the value meanwhile: theirs is under a key that opens."""
    statement = (
        update(place.table)
        .where(
            *(place.table.c[name] == value for name, value in zip(place.key, key, strict=True)),
            place.table.c[place.column] == old,
        )
        .values({place.column: new})
    )
    with database.write() as connection:
        changed = connection.execute(statement).rowcount
        connection.commit()
    return changed


def rotate(
    database: Database,
    secrets: SecretStore,
    *,
    wait_seconds: float,
    retires: bool,
    tell: Callable[[str], object],
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Run the whole rotation, or with `retires` its end a day later.

    Returns False when some value could not be opened. Raises Unavailable."""
    cipher = SecretStoreCipher(secrets)
    current = cipher.current_key_id() if retires else cipher.rotate()
    tell(f"{'Current' if retires else 'New'} data key {current}")
    unreadable = 0
    for turn, pause in enumerate((0.0,) if retires else (0.0, wait_seconds)):
        sleep(pause)
        unreadable = 0
        for place in SEALED:
            done = reseal(database, cipher, place, current)
            unreadable += done.unreadable
            tell(f"Pass {turn + 1}: {place.name}: {done.resealed} sealed anew, {done.unreadable} unreadable")
    if retires and not unreadable:
        gone = retire(secrets, keys_in_use(database), current)
        tell(f"Retired: {', '.join(gone) or 'none'}")
    return not unreadable


def main(arguments: Sequence[str]) -> int:
    """Run the command line. Returns 1 when some value could not be opened."""
    from infra.app.build import hub

    parser = argparse.ArgumentParser(prog="python -m infra.rotate_data_key", description=__doc__)
    parser.add_argument("--wait", type=float, default=65.0, help="seconds between the passes")
    parser.add_argument(
        "--retire", action="store_true", help="make no new key, but destroy those that no column uses"
    )
    options = parser.parse_args(arguments)

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    done = rotate(hub().database, hub().secrets, wait_seconds=options.wait, retires=options.retire, tell=tell)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
