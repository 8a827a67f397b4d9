"""What Key Vault accepts as a secret, checked before anything is sent.

The embedded twin refuses the same. Source: "About Azure Key Vault secrets" (Microsoft)."""

from __future__ import annotations

import re

MAX_VALUE_BYTES = 25 * 1024
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")


def check_name(name: str) -> None:
    """Refuse a name that is not 1 to 127 letters, digits and dashes. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"Not a secret name: {name!r}")


def check_value(value: str) -> None:
    """Refuse a value over 25 KiB. Raises ValueError, which does not quote it."""
    if len(value.encode()) > MAX_VALUE_BYTES:
        raise ValueError(f"A secret has at most {MAX_VALUE_BYTES} bytes")
