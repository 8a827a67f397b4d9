"""A person whose data the hub holds, and the requests to export or erase it (GDPR articles 15 and 17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from domain.core.text_length import TextConstraints
from domain.core.wire import Command


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


PersonIdentifier = Annotated[
    str, TextConstraints(strip_whitespace=True, min_length=3, max_length=300), AfterValidator(_printable)
]


class RecordRef(Command):
    integration_id: UUID
    stream: Annotated[str, TextConstraints(min_length=1, max_length=60)]
    external_id: Annotated[str, TextConstraints(min_length=1, max_length=300)]


class DataSubject(Command):
    """Who. `identifiers` are compared whole with the values of records and payloads, without regard to case."""

    identifiers: list[PersonIdentifier] = Field(
        default_factory=list,
        max_length=20,
        description="What names the person and nobody else: e-mail addresses, telephone numbers, customer ids",
    )
    records: list[RecordRef] = Field(
        default_factory=list, max_length=100, description="Records that are known to be about the person"
    )

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not self.identifiers and not self.records:
            raise ValueError("give identifiers, records or both")
        return self


class ExportSubject(DataSubject):
    """Body of `POST /api/privacy/export`."""

    cursor: Annotated[str, TextConstraints(max_length=4_000)] | None = Field(
        None, description="From the answer before"
    )
    limit: int = Field(100, ge=1, le=500, description="Most items of one answer")


class EraseSubject(DataSubject):
    """Body of `POST /api/privacy/erase`."""

    suppress: bool = Field(True, description="Keep synchronisation from bringing the person back")


class AllowSubject(DataSubject):
    """Body of `POST /api/privacy/allow`."""


class ErasureStatus(IntEnum):
    Running = 0
    Completed = 1


@dataclass(frozen=True, slots=True)
class Erasure:
    """A request to erase a person.

    - `sealed` is the encrypted text that names the person (`erasure_context`); None once the request is completed.
    - `place` and `position` say where the search continues.
    - `counts` are the rows erased, by the name of their place."""

    erasure_id: UUID
    tenant_id: UUID
    created_at: datetime
    created_by: UUID
    sealed: str | None = field(repr=False)
    status: ErasureStatus = ErasureStatus.Running
    place: int = 0
    position: str | None = field(default=None, repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)
    completed_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Holding:
    position: Sequence[str]
    ids: Mapping[str, str]
    at: datetime
    row: Any = field(repr=False)


def erasure_context(erasure_id: UUID) -> str:
    """Return the cipher context of `Erasure.sealed`."""
    return f"erasure:{erasure_id}"
