"""A message to a person."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """`recipient` is an e-mail address or an E.164 number. An SMS carries the subject alone."""

    recipient: str
    subject: str
    text: str
