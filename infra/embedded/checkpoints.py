"""Signed heads of the audit log as files beside the database."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from uuid import UUID

from domain.core.errors import Unavailable


class EmbeddedCheckpoints:
    """`<home>/audit-checkpoints/<tenant>/<size>`, a read-only file each. Implements Checkpoints.

    A development machine has nothing that its owner cannot change: copy the folder elsewhere to have more."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "audit-checkpoints"

    def put(self, tenant_id: UUID, size: int, note: str) -> None:
        folder = self._folder / str(tenant_id)
        fresh = folder / f".{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("x", encoding="utf-8") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            fresh.chmod(0o400)
            # A name that exists is not replaced, and none is seen before its content is there.
            with contextlib.suppress(FileExistsError):
                os.link(fresh, folder / f"{size:018d}")
            fresh.unlink()
        except OSError as error:
            raise Unavailable(f"A head of the audit log could not be kept: {error.strerror}") from error

    def latest(self, tenant_id: UUID) -> str | None:
        try:
            sizes = sorted(path for path in (self._folder / str(tenant_id)).glob("[0-9]*"))
            return sizes[-1].read_text(encoding="utf-8") if sizes else None
        except OSError as error:
            raise Unavailable(f"The heads of the audit log cannot be read: {error.strerror}") from error
