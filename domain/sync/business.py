"""The business rules hook (UC-DS-02 step 5): what a valid record must also be. A rule sees one internal record and
names the field it objects to, without repeating its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domain.errors import FieldError
from domain.sync.records import ContactRecord, EventRecord, PaymentRecord, Record

BusinessRule = Callable[[Record], FieldError | None]


def event_ends_after_it_starts(record: Record) -> FieldError | None:
    if not isinstance(record, EventRecord):
        return None
    if record.starts_at and record.ends_at and record.ends_at < record.starts_at:
        return FieldError("/endsAt", "The event ends before it starts.")
    if record.start_date and record.end_date and record.end_date < record.start_date:
        return FieldError("/endDate", "The event ends before it starts.")
    return None


def refund_is_within_the_payment(record: Record) -> FieldError | None:
    if isinstance(record, PaymentRecord) and record.refunded_minor > abs(record.amount_minor):
        return FieldError("/refundedMinor", "More was refunded than was paid.")
    return None


def contact_can_be_told_apart(record: Record) -> FieldError | None:
    if not isinstance(record, ContactRecord):
        return None
    if any((record.first_name, record.last_name, record.email, record.phone, record.company)):
        return None
    return FieldError("", "The contact has neither name, company, e-mail address nor phone number.")


RULES: Sequence[BusinessRule] = (
    event_ends_after_it_starts,
    refund_is_within_the_payment,
    contact_can_be_told_apart,
)
