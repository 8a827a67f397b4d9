"""The request bodies of the integrations API (section 5.1)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from domain.core.text_length import TextConstraints
from domain.core.wire import Command
from domain.providers.contract import TestOptions

CONFIGURATION_MAX_BYTES = 10 * 1024

TypeName = Literal[
    "PaymentGateway", "EmailService", "SMSService", "CalendarSync", "CustomAPI", "CRM", "Analytics", "Storage"
]


def _fits(value: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
    if size > CONFIGURATION_MAX_BYTES:
        raise ValueError(f"is {size:,} bytes of JSON; at most {CONFIGURATION_MAX_BYTES:,} are accepted")
    return value


Name = Annotated[str, TextConstraints(min_length=1, max_length=200, strip_whitespace=True)]
ConfigurationObject = Annotated[
    dict[str, Any],
    AfterValidator(_fits),
    Field(description="As `GET /api/providers/{name}` describes it; at most 10 KB of JSON"),
]
Note = Annotated[str, TextConstraints(min_length=1, max_length=2000, strip_whitespace=True)]


class TestIntegration(Command):
    """Body of `POST /api/integrations/{id}/test`; may be empty."""

    __test__ = False

    recipient: Annotated[str, TextConstraints(min_length=3, max_length=320)] | None = Field(
        None,
        description="E-mail address or E.164 phone number that gets the test message; without it the e-mail address "
        "that the caller's token claims",
    )
    sandbox: bool = Field(
        False, description="Have the provider check the test message without delivering it, where it can"
    )
    amount_minor: int = Field(100, ge=1, le=100_000, description="Test charge in the currency's minor unit")
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = Field(
        None,
        description="ISO 4217 code of the test charge; without it that of the configuration (Stripe) or of the "
        "location (Square), else USD",
    )

    def to_options(self) -> TestOptions:
        return TestOptions(self.recipient, self.amount_minor, self.currency, self.sandbox)


class CreateIntegration(Command):
    """Body of `POST /api/integrations`."""

    name: Name
    integration_type: TypeName
    provider: Annotated[str, TextConstraints(min_length=1, max_length=100)] = Field(
        description="A name of `GET /api/providers`, such as `Stripe`"
    )
    configuration: ConfigurationObject = Field(repr=False)
    owner_id: UUID | None = Field(
        None,
        strict=False,
        description="Whose calendar it is (CalendarSync only); the caller's when absent. Naming somebody else needs "
        "`integration:admin` or `integration:manage`",
    )
    is_enabled: bool = Field(True, description="false: keep it out of health checks, syncs and use")
    activate: bool = Field(True, description="false: keep it as a Draft; activate it later")
    test: bool | None = Field(
        None,
        description="Make the provider's test before activation; by default for payment gateways in test mode, and "
        "for e-mail and SMS services, whose test is a message",
    )
    test_options: TestIntegration = TestIntegration()
    allow_tls12: bool = Field(
        False, alias="allowTls12", description="Accept TLS 1.2 from this provider; 1.3 is the floor otherwise"
    )


class UpdateIntegration(Command):
    """Body of `PUT /api/integrations/{id}`: the fields sent replace, the others stay.

    In `configuration`, secret fields that are absent or `********` stay as they are, unless where they go changes."""

    name: Name | None = None
    configuration: ConfigurationObject | None = Field(None, repr=False)
    is_enabled: bool | None = None
    allow_tls12: bool | None = Field(None, alias="allowTls12")


class RotateCredentials(Command):
    """Body of `PUT /api/integrations/{id}/credentials`: configuration fields to replace, secrets among them."""

    credentials: ConfigurationObject = Field(repr=False)


class ActivateIntegration(Command):
    """Body of `POST /api/integrations/{id}/activate`; may be empty."""

    test: bool | None = Field(
        None, description="As in creation; a suspended integration is tested only with `true`"
    )
    test_options: TestIntegration = TestIntegration()


class SuspendIntegration(Command):
    """Body of `POST /api/integrations/{id}/suspend`; may be empty."""

    reason: Annotated[str, TextConstraints(max_length=400, strip_whitespace=True)] = "Suspended by hand."


class ReviewIntegration(Command):
    """Body of `POST /api/integrations/{id}/review` (BR-IM-05)."""

    note: Note = Field(description="What was found and done; goes to the integration's log and the audit log")
    resolution: Literal["Activate", "Draft", "Suspend"] = Field(
        "Activate", description="Validate and activate again, back to Draft, or keep it suspended"
    )
