"""The keys that `authLevel` function and admin ask for, drawn on first start and kept under HUB_HOME."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Final

ANONYMOUS: Final = "anonymous"


DURABLE: Final = "durable"
"""What opens the Durable extension's API: as on Azure a system key of that extension, and the master key."""


class HostKeys:
    """A default function key, the Durable extension's system key, and the master key, which opens everything."""

    def __init__(self, *, function: str, master: str) -> None:
        durable = hmac.digest(master.encode(), b"durabletask_extension", "sha256").hex()
        self.durable: Final = durable
        self._accepted = {
            "function": (function.encode(), master.encode()),
            DURABLE: (durable.encode(), master.encode()),
            "admin": (master.encode(),),
        }

    def allows(self, level: str, presented: str | None) -> bool:
        """Whether the presented key opens what asks for this (lower-case) level."""
        if level == ANONYMOUS:
            return True
        if not presented:
            return False
        given = presented.encode()
        return any(hmac.compare_digest(given, key) for key in self._accepted[level])


def load_keys(home: Path) -> HostKeys:
    """Read `home`/host-keys.json, creating it (readable by its owner alone) when it is not there."""
    path = home / "host-keys.json"
    fresh = {"masterKey": secrets.token_urlsafe(32), "functionKeys": {"default": secrets.token_urlsafe(32)}}
    draft = path.with_name(f"host-keys.{os.getpid()}.new")
    if not path.exists():
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump(fresh, file, indent=2)
        try:
            # Of two processes that start at once, the first to link decides.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    stored = json.loads(path.read_text())
    return HostKeys(function=stored["functionKeys"]["default"], master=stored["masterKey"])
