"""The internal records, into which the data of every provider is transformed before it is stored."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from domain.core.errors import FieldError
from domain.core.wire import RecordedMoment
from domain.providers.records import RecordType

ShortText = Annotated[str, StringConstraints(max_length=2_000, strip_whitespace=True)]
LongText = Annotated[str, StringConstraints(max_length=100_000)]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Record(BaseModel):
    """Base of the internal records: camelCase, no unknown fields; a number may come as text."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True
    )

    def broken_rule(self) -> FieldError | None:
        """Return the business rule that the record breaks."""
        return None


class Participant(Record):
    name: ShortText | None = None
    email: ShortText | None = None
    status: ShortText | None = None


class AlteredOccurrence(Record):
    """An occurrence that differs from what the rule of its series says, where both are one record."""

    original_starts_at: RecordedMoment | None = None
    original_start_date: date | None = None
    this_and_future: bool | None = None
    title: ShortText = ""
    starts_at: RecordedMoment | None = None
    ends_at: RecordedMoment | None = None
    start_date: date | None = None
    end_date: date | None = None
    all_day: bool = False
    description: LongText | None = None
    location: ShortText | None = None
    status: ShortText | None = None


class EventRecord(Record):
    """A calendar event: either moments with an offset, or whole days (`all_day`).

    - `time_zone` is the zone that the event, and the rule of a series, is meant in.
    - `series_id` and the original start say which occurrence of which series the record stands for; its status is
      `cancelled` where that does not take place. `this_and_future`: it stands for all that follow it too.
    - `cancelled_occurrences` and `occurrences` are of a series: the original starts of those that do not take place,
      and those that were changed, unless they are records of their own. Absent where there are none."""

    title: ShortText
    starts_at: RecordedMoment | None = None
    ends_at: RecordedMoment | None = None
    start_date: date | None = None
    end_date: date | None = None
    all_day: bool = False
    description: LongText | None = None
    location: ShortText | None = None
    organizer: Participant | None = None
    attendees: list[Participant] = Field(default_factory=list, max_length=5_000)
    status: ShortText | None = None
    recurrence: list[ShortText] = Field(default_factory=list)
    time_zone: ShortText | None = None
    series_id: ShortText | None = None
    original_starts_at: RecordedMoment | None = None
    original_start_date: date | None = None
    this_and_future: bool | None = None
    cancelled_occurrences: list[ShortText] | None = Field(None, max_length=5_000)
    occurrences: list[AlteredOccurrence] | None = Field(None, max_length=5_000)
    url: ShortText | None = None

    def broken_rule(self) -> FieldError | None:
        if self.starts_at and self.ends_at and self.ends_at < self.starts_at:
            return FieldError("/endsAt", "The event ends before it starts.")
        if self.start_date and self.end_date and self.end_date < self.start_date:
            return FieldError("/endDate", "The event ends before it starts.")
        return None


class ContactRecord(Record):
    first_name: ShortText | None = None
    last_name: ShortText | None = None
    email: ShortText | None = None
    phone: ShortText | None = None
    company: ShortText | None = None
    job_title: ShortText | None = None
    address: ShortText | None = None

    def broken_rule(self) -> FieldError | None:
        if self.first_name or self.last_name or self.email or self.phone or self.company:
            return None
        return FieldError("", "The contact has neither name, company, e-mail address nor phone number.")


class PaymentRecord(Record):
    """Amounts are in the currency's minor unit."""

    amount_minor: int
    currency: Currency
    status: ShortText
    paid_at: RecordedMoment | None = None
    refunded_minor: int = Field(0, ge=0)
    description: ShortText | None = None
    payer_email: ShortText | None = None
    method: ShortText | None = None

    def broken_rule(self) -> FieldError | None:
        if self.refunded_minor > abs(self.amount_minor):
            return FieldError("/refundedMinor", "More was refunded than was paid.")
        return None


class MessageRecord(Record):
    channel: Annotated[str, StringConstraints(pattern=r"^(email|sms|other)$")]
    recipient: ShortText
    sender: ShortText | None = None
    subject: ShortText | None = None
    status: ShortText
    sent_at: RecordedMoment | None = None
    error: ShortText | None = None


class FileRecord(Record):
    path: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    size_bytes: int = Field(ge=0)
    content_type: ShortText | None = None
    etag: ShortText | None = None
    url: ShortText | None = None


class GenericRecord(Record):
    fields: dict[str, Any]


MODELS: dict[RecordType, type[Record]] = {
    RecordType.Event: EventRecord,
    RecordType.Contact: ContactRecord,
    RecordType.Payment: PaymentRecord,
    RecordType.Message: MessageRecord,
    RecordType.FileObject: FileRecord,
    RecordType.Generic: GenericRecord,
}
