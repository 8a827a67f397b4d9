"""Column types that mean the same on SQLite and on SQL Server.

The conversions run for every value of every row, so each is chosen once per dialect and is one plain call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import Boolean, DateTime, Dialect, Integer, String, Unicode, UnicodeText, Uuid
from sqlalchemy.dialects.mssql import DATETIME2, NVARCHAR
from sqlalchemy.sql import operators
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from domain.core.text_length import utf16_units

E = TypeVar("E", bound=IntEnum)

#: SQL Server's code-point order: case and accents differ, as they do in SQLite and in the interface.
EXACT_COLLATION = "Latin1_General_100_BIN2"


#: Stands for the blank that a stored name ends in; no text may contain it by itself (a noncharacter of Unicode).
LAST_BLANK = "\uffff"


class TextTooLong(ValueError):
    """A text is longer than its column; SQL Server would refuse the statement (error 2628). A defect of the caller."""


Guid = Uuid(as_uuid=True)
Text = UnicodeText().with_variant(NVARCHAR(None), "mssql")
Flag = Boolean(create_constraint=False)


class _Bounded(TypeDecorator[str]):
    """NVARCHAR(length), of which SQLite too refuses longer values: it knows no lengths itself.

    Values that are only compared may be longer, as on SQL Server."""

    impl = Unicode
    cache_ok = True

    def __init__(self, length: int, collation: str | None = None) -> None:
        super().__init__(length)
        self.most = length
        self.collation_name = collation

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "mssql" and self.collation_name is not None:
            return dialect.type_descriptor(NVARCHAR(self.most, collation=self.collation_name))
        return dialect.type_descriptor(Unicode(self.most))

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None] | None:
        return _at_most(self.most) if dialect.name == "sqlite" else None

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[str | None], str | None] | None:
        return None

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        return Unicode(self.most)


class _Named(_Bounded):
    """Exact text whose last blank, if it ends in one, is stored as LAST_BLANK.

    SQL Server ignores blanks at the end where it compares and in unique keys, whatever the collation: "a" and "a "
    would be one key there, and two on SQLite."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        checked = super().bind_processor(dialect)
        return _stored if checked is None else lambda value: checked(_stored(value))

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], str | None]:
        return _shown

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        is_pattern = op in (operators.like_op, operators.not_like_op)
        return Unicode(self.most) if is_pattern else _NamedCompared(self.most)


class _NamedCompared(TypeDecorator[str]):
    """What a `_Named` column is compared with; it may be longer than the column."""

    impl = Unicode
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        return _stored

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


def Varchar(length: int) -> TypeEngine[str]:  # noqa: N802 - reads as the type it makes
    """NVARCHAR(length) in the database's own collation, which on SQL Server ignores case."""
    return _Bounded(length)


def Exact(length: int) -> TypeEngine[str]:  # noqa: N802 - reads as the type it makes
    """NVARCHAR(length) for names that programs compare: `a` is not `A`, whatever the database's collation."""
    return _Bounded(length, EXACT_COLLATION)


def Named(length: int) -> TypeEngine[str]:  # noqa: N802 - reads as the type it makes
    """NVARCHAR(length) for names that others give and that are keys: `a ` is not `a` either."""
    return _Named(length, EXACT_COLLATION)


class Utc(TypeDecorator[datetime]):
    """A moment in UTC: DATETIME2(6) on SQL Server, ISO text of fixed width on SQLite, which sorts.

    Python always sees timezone-aware values."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            DATETIME2(6) if dialect.name == "mssql" else String(27)  # type: ignore[no-untyped-call]
        )

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        return _to_naive if dialect.name == "mssql" else _to_iso

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        return _from_naive if dialect.name == "mssql" else _from_iso


class Enum(TypeDecorator[E], Generic[E]):
    """An enumeration stored as the specification's INT."""

    impl = Integer
    cache_ok = True

    def __init__(self, enumeration: type[E]) -> None:
        super().__init__()
        self.enumeration = enumeration

    def bind_processor(self, dialect: Dialect) -> Callable[[E | None], int | None]:
        return _to_int

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], E | None]:
        members: dict[int | None, E | None] = {member.value: member for member in self.enumeration}
        members[None] = None
        return members.__getitem__


def _at_most(most: int) -> Callable[[str | None], str | None]:
    def checked(value: str | None) -> str | None:
        if value is not None and 2 * len(value) > most and utf16_units(value) > most:
            raise TextTooLong(
                f"A text of {utf16_units(value)} UTF-16 units does not fit into NVARCHAR({most})."
            )
        return value

    return checked


def _stored(value: str | None) -> str | None:
    return f"{value[:-1]}{LAST_BLANK}" if value is not None and value.endswith(" ") else value


def _shown(value: str | None) -> str | None:
    return f"{value[:-1]} " if value is not None and value.endswith(LAST_BLANK) else value


def _to_int(value: IntEnum | None) -> int | None:
    return None if value is None else int(value)


def _to_iso(value: datetime | None) -> str | None:
    if value is None:
        return None
    moment = value if value.tzinfo is UTC else value.astimezone(UTC)
    return moment.isoformat("T", "microseconds")[:26] + "Z"


def _from_iso(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _to_naive(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC).replace(tzinfo=None)


def _from_naive(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)
