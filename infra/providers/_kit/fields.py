"""Configuration fields of e-mail and SMS providers."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

EmailAddress = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s<>]+@[^@\s<>]+$")]

#: E.164.
PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
