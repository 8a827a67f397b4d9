"""What Azure Tables accepts, checked before anything is sent, so that the embedded twin refuses the same.

Source: "Understanding the Table service data model" and "Performing entity group transactions" (Microsoft).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from domain.core.ports import TableEntity, TableWrite

MAX_VALUE_BYTES = 64 * 1024
MAX_PROPERTIES = 252
MAX_TRANSACTION = 100
_MAX_KEY_BYTES = 1024
_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_FORBIDDEN_IN_KEY = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_PROPERTY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_RESERVED = frozenset({"PartitionKey", "RowKey", "Timestamp"})


def check_table(table: str) -> None:
    """Refuse a name that is not 3 to 63 letters and digits, the first a letter. Raises ValueError."""
    if not _TABLE.fullmatch(table):
        raise ValueError(f"Not a table name: {table!r}")


def check_key(key: str) -> None:
    r"""Refuse a key with `/ \ # ?`, control characters, or over 1 KiB. Raises ValueError."""
    if _FORBIDDEN_IN_KEY.search(key) or len(key.encode("utf-16-le")) > _MAX_KEY_BYTES:
        raise ValueError("A key must not contain / \\ # ? or control characters, nor be over 1 KiB")


def check_entity(entity: TableEntity) -> None:
    """Refuse keys, property names and values that Azure Tables would refuse. Raises ValueError."""
    check_key(entity.partition_key)
    check_key(entity.row_key)
    if len(entity.properties) > MAX_PROPERTIES:
        raise ValueError(f"An entity has at most {MAX_PROPERTIES} properties")
    for name, value in entity.properties.items():
        if name in _RESERVED or not _PROPERTY.fullmatch(name):
            raise ValueError(f"Not a property name: {name!r}")
        _check_value(name, value)


def check_writes(writes: Sequence[TableWrite]) -> None:
    """Refuse writes that cannot be one transaction. Raises ValueError.

    A transaction has at most 100 writes in one partition, and each entity once."""
    if len(writes) > MAX_TRANSACTION:
        raise ValueError(f"A transaction has at most {MAX_TRANSACTION} writes")
    if len({write.entity.partition_key for write in writes}) > 1:
        raise ValueError("A transaction stays in one partition")
    if len({write.entity.row_key for write in writes}) < len(writes):
        raise ValueError("A transaction writes each entity once")
    for write in writes:
        check_entity(write.entity)


def _check_value(name: str, value: object) -> None:
    match value:
        case bool() | float():
            return
        case int():
            ok = -(2**63) <= value < 2**63
        case str():
            ok = len(value.encode("utf-16-le")) <= MAX_VALUE_BYTES
        case bytes():
            ok = len(value) <= MAX_VALUE_BYTES
        case datetime():
            ok = value.tzinfo is not None
        case _:
            ok = False
    if not ok:
        raise ValueError(
            f"Property {name} is not a 64-bit int, float, bool, aware datetime, or within 64 KiB"
        )
