"""How commands and moments look on the wire, and what is told of a field that is refused."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from domain.core.errors import FieldError, ValidationFailed


class Command(BaseModel):
    """A request body: camelCase, unknown fields refused, `"5"` for a number and `1` for a truth value too."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,
    )

    @classmethod
    def of_json(cls, body: bytes) -> Self:
        """Return the command that a body holds. Raises pydantic's ValidationError, or what an override says."""
        return cls.model_validate_json(body, by_alias=True, by_name=False)


def sent_fields(command: Command, *, nullable: Collection[str]) -> dict[str, Any]:
    """Return the fields that the client sent, by their Python names; null clears a `nullable` one.

    Raises ValidationFailed, which names each other field that is null."""
    sent = {name: getattr(command, name) for name in command.model_fields_set}
    nulls = sorted(name for name, value in sent.items() if value is None and name not in nullable)
    if nulls:
        fields = type(command).model_fields
        errors = [FieldError(f"/{fields[name].alias}", "This must not be null.") for name in nulls]
        raise ValidationFailed("A required field was set to null.", errors)
    return sent


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the moment is out of range in UTC") from error


_MOMENT = (
    "Should be a moment such as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00; in an address + is %2B"
)


def _written_out(value: object) -> object:
    """Pydantic takes numbers, and text that is one, for seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and "-" in value[1:]):
        return value
    raise ValueError(_MOMENT)


#: A moment of another system's record: RFC 3339 with its offset, or seconds since 1970. Held in UTC.
RecordedMoment = Annotated[AwareDatetime, AfterValidator(_to_utc)]

#: An RFC 3339 moment with its offset, held in UTC.
UtcMoment = Annotated[RecordedMoment, BeforeValidator(_written_out)]

#: Where pydantic's words name its own notions, or miss what is wrong as a rule.
_WORDS = {
    "timezone_aware": "Should have its offset from UTC, such as 2026-01-31T12:00:00Z",
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
}


def reason_of(error: ErrorDetails) -> str:
    """Return what is wrong as a sentence: pydantic's words, ours in place of them, or the validator's."""
    said = (_WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")).rstrip(".") + "."
    # Some begin with the name of a field, which stays as it is.
    return said[:1].upper() + said[1:] if said.partition(" ")[0].islower() else said


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T09:30:00.123456Z`: the one form in which a moment leaves the product."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
