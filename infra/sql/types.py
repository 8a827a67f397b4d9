"""Column types that mean the same on SQLite and on SQL Server."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import Boolean, DateTime, Dialect, Integer, String, Unicode, UnicodeText, Uuid
from sqlalchemy.dialects.mssql import DATETIME2
from sqlalchemy.types import TypeDecorator, TypeEngine

E = TypeVar("E", bound=IntEnum)

Guid = Uuid(as_uuid=True)
Text = UnicodeText()
Flag = Boolean(create_constraint=False)


def Varchar(length: int) -> Unicode:  # noqa: N802 - reads as the type it makes
    return Unicode(length)


class Utc(TypeDecorator[datetime]):
    """A moment in UTC: DATETIME2(6) on SQL Server, ISO text of fixed width on SQLite (it sorts, and is read
    by eye). Python always sees timezone-aware values."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            DATETIME2(6) if dialect.name == "mssql" else String(27)  # type: ignore[no-untyped-call]
        )

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        moment = value.astimezone(UTC).replace(tzinfo=None)
        return moment if dialect.name == "mssql" else moment.isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "mssql" else datetime.fromisoformat(value)


class Enum(TypeDecorator[E], Generic[E]):
    """An enumeration stored as the specification's INT."""

    impl = Integer
    cache_ok = True

    def __init__(self, enumeration: type[E]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def process_bind_param(self, value: E | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> E | None:
        return None if value is None else self.enumeration(value)
