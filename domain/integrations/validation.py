"""Validating credentials (BR-IM-02) and making the provider's test (UC-IM-01 step 5, UC-IM-02 step 4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from domain.core.errors import Unavailable
from domain.core.transaction import note_effect
from domain.integrations.configuration import Split
from domain.integrations.connection import Connector
from domain.integrations.model import Integration
from domain.integrations.rules import RECIPIENTS, message_recipient
from domain.providers.contract import (
    Capability,
    Connection,
    CredentialCheck,
    IntegrationType,
    Provider,
    ProviderFailure,
    TestOptions,
    TestStep,
)

logger = logging.getLogger("hub.integrations")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """How far a validation came; `stage` is where it ended, `failure` or `cause` why it went no further.

    `delivered`: the provider took a test message to deliver it; None where the test is none."""

    stage: Literal["authorization", "credentials", "test", "done"]
    detail: str
    failure: ProviderFailure | None = None
    check: CredentialCheck | None = None
    steps: Sequence[TestStep] = ()
    delivered: bool | None = None
    cause: Literal["recipient-needed"] | None = None

    @property
    def succeeded(self) -> bool:
        return self.stage == "done"

    @property
    def is_temporary(self) -> bool:
        """Return whether nothing is known to be wrong: the provider did not answer, or asked us to wait."""
        return self.failure is not None and self.failure.kind in ("unavailable", "rate_limited")


class CredentialValidator:
    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def validate(
        self,
        integration: Integration,
        options: TestOptions | None = None,
        *,
        test: bool | None = False,
        split: Split | None = None,
        email: str | None = None,
    ) -> ValidationResult:
        """Validate the credentials, then make the provider's test where it is wanted.

        Raises Unavailable, and Conflict for a type that is switched off.

        - `test`: True makes the test, False does not, None leaves it to the type.
        - `split`: used instead of the stored configuration.
        - `email`: who gets a test message for which nobody is named."""
        options = options or TestOptions()
        self._connector.check_enabled(integration)
        try:
            if split is None and await asyncio.to_thread(self._connector.awaits_authorization, integration):
                return ValidationResult("authorization", "Waiting for authorisation with the provider.")
            connecting = self._connector.connect_soon(integration, split=split)
            provider, connection = await guarded(connecting, integration)
            check = await guarded(provider.validate_credentials(connection), integration)
        except ProviderFailure as failure:
            return ValidationResult("credentials", failure.detail, failure)
        if not _wants_test(provider, check, test):
            return ValidationResult("done", check.detail or "The credentials were accepted.", check=check)
        kind = provider.profile.integration_type
        if kind in RECIPIENTS:
            recipient = message_recipient(kind, options.recipient, email)
            if recipient is None:
                return _recipient_needed(RECIPIENTS[kind][1], check)
            options = replace(options, recipient=recipient)
        return await self._test(integration, provider, connection, check, options=options)

    async def _test(
        self,
        integration: Integration,
        provider: Provider,
        connection: Connection,
        check: CredentialCheck,
        *,
        options: TestOptions,
    ) -> ValidationResult:
        note_effect()  # a message may arrive, and be charged, whatever is known of it afterwards
        try:
            result = await guarded(provider.test(connection, options), integration)
        except ProviderFailure as failure:
            return ValidationResult("test", f"The test failed: {failure.detail}", failure, check)
        detail = f"The credentials were accepted and {_OUTCOMES[result.delivered]}."
        return ValidationResult("done", detail, None, check, result.steps, result.delivered)


_OUTCOMES = {
    None: "the test passed",
    True: "the test message was sent",
    False: "the test message was checked; nothing was delivered",
}


def _recipient_needed(form: str, check: CredentialCheck) -> ValidationResult:
    detail = (
        "recipient-needed: The credentials were accepted. Name who gets the test message, "
        f"{form}, in testOptions.recipient."
    )
    return ValidationResult("test", detail, check=check, cause="recipient-needed")


def _wants_test(provider: Provider, check: CredentialCheck, test: bool | None) -> bool:
    if Capability.Test not in provider.profile.capabilities:
        return False
    if test is not None:
        return test
    kind = provider.profile.integration_type
    if kind == IntegrationType.PaymentGateway:
        # Never a real charge that nobody asked for.
        return check.test_mode is not False
    return kind in RECIPIENTS


async def guarded(
    call: Awaitable[T], integration: Integration, *, passing: tuple[type[Exception], ...] = ()
) -> T:
    """Return the result of an adapter's call; turn every exception that it did not expect into a ProviderFailure.

    Raises ProviderFailure, Unavailable, and the exceptions in `passing`."""
    try:
        return await call
    except (ProviderFailure, Unavailable):
        raise
    except passing:
        raise
    except Exception as error:
        # The text of the error may quote the answer or the configuration: only its kind is logged.
        logger.error(
            "provider adapter failed",
            extra={
                "provider": integration.provider,
                "integration": str(integration.integration_id),
                "error": type(error).__name__,
            },
        )
        raise ProviderFailure("malformed", "The provider's answer was not understood.") from None
