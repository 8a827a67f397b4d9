"""Integration rules as pure functions (section 6.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from domain.core.errors import Conflict, FieldError, RuleViolation, ValidationFailed
from domain.core.principal import EMAIL_ADDRESS
from domain.core.web_address import BadAddress, require_https
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, SuspensionCause
from domain.providers.contract import IntegrationType

_S = IntegrationStatus


class Move(StrEnum):
    Validate = "validate"
    Refuse = "refuse"
    Activate = "activate"
    Suspend = "suspend"
    Fail = "fail"
    Review = "review"
    Shelve = "shelve"
    Disconnect = "disconnect"


#: Every legal move. Active is reached only through validation (BR-IM-02), Error is left only by a person's
#: review or by disconnecting (BR-IM-05), Disconnected never.
MOVES: Mapping[IntegrationStatus, Mapping[Move, IntegrationStatus]] = {
    _S.Draft: {Move.Validate: _S.PendingValidation, Move.Disconnect: _S.Disconnected},
    _S.PendingValidation: {
        Move.Validate: _S.PendingValidation,
        Move.Refuse: _S.Draft,
        Move.Activate: _S.Active,
        Move.Fail: _S.Error,
        Move.Disconnect: _S.Disconnected,
    },
    _S.Active: {Move.Suspend: _S.Suspended, Move.Fail: _S.Error, Move.Disconnect: _S.Disconnected},
    _S.Suspended: {
        Move.Activate: _S.Active,
        Move.Suspend: _S.Suspended,
        Move.Fail: _S.Error,
        Move.Disconnect: _S.Disconnected,
    },
    _S.Error: {Move.Review: _S.Draft, Move.Shelve: _S.Suspended, Move.Disconnect: _S.Disconnected},
    _S.Disconnected: {},
}

#: The request by which a client makes a move.
_REQUESTS: Mapping[Move, str] = {
    Move.Validate: "activate",
    Move.Activate: "activate",
    Move.Suspend: "suspend",
    Move.Review: "review",
    Move.Shelve: "review",
    Move.Disconnect: "disconnect (DELETE)",
}

_SINGLE = (IntegrationType.PaymentGateway, IntegrationType.EmailService, IntegrationType.SMSService)


def status_after(status: IntegrationStatus, move: Move) -> IntegrationStatus:
    """Return the status that a move leads to.

    Raises Conflict (`illegal-move`), which names the moves that are allowed; RuleViolation (BR-IM-05) out of Error."""
    target = MOVES[status].get(move)
    if target is not None:
        return target
    if status == _S.Error:
        detail = "The integration is in Error; a person must review it first: POST to its /review."
        raise RuleViolation(detail, code="BR-IM-05")
    allowed = ", ".join(dict.fromkeys(_REQUESTS[other] for other in MOVES[status] if other in _REQUESTS))
    detail = f"An integration with status {status.name} does not allow this; allowed: {allowed or 'nothing'}."
    raise Conflict(detail, code="illegal-move")


def moved(integration: Integration, move: Move, reason: str | None) -> Integration:
    """Return the integration after a move. Raises as `status_after`."""
    return replace(integration, status=status_after(integration.status, move), reason=reason)


def activated(integration: Integration) -> Integration:
    """Return the integration as Active, with its health unknown. Raises as `status_after`."""
    return replace(
        moved(integration, Move.Activate, None),
        suspension=None,
        probe_after=None,
        consecutive_failures=0,
        health_status=HealthStatus.Unknown,
        vitals=None,
    )


def unauthorized(integration: Integration) -> Integration:
    """Return the integration after its OAuth grant ended because an address changed: it waits for a new one."""
    if integration.status not in (_S.Active, _S.Suspended):
        return integration
    reason = "An address changed, which the authorisation was not given for; authorise it again."
    is_by_hand = integration.suspension == SuspensionCause.Manual
    return replace(
        moved(integration, Move.Suspend, reason),
        suspension=SuspensionCause.Manual if is_by_hand else SuspensionCause.Grant,
        probe_after=None,
        health_status=HealthStatus.Unknown,
    )


def was_active(integration: Integration) -> bool:
    """Return whether it is, or was, in use: a change of its address is worth an alert."""
    return integration.status in (_S.Active, _S.Suspended, _S.Error) or integration.validated_at is not None


def slot(integration: Integration) -> str:
    """Return the slot that only one active integration of a tenant may hold (BR-IM-01).

    A calendar whose account is not known, as it was activated before accounts were, holds the one of its owner."""
    kind = integration.integration_type
    if kind in _SINGLE:
        return kind.name
    if kind == IntegrationType.CalendarSync:
        account = f"/{integration.account_hash}" if integration.account_hash else ""
        return f"{kind.name}/{integration.owner}{account}"
    return f"{kind.name}/{integration.provider}/{integration.name}"


def early_slot(integration: Integration) -> str | None:
    """Return the slot that an activation will ask for, None while only the provider can tell, as for a calendar."""
    return None if integration.integration_type == IntegrationType.CalendarSync else slot(integration)


def provider_hash(provider: str, name: str) -> str:
    """Return what is stored of the name of an account, or of an OAuth client, at a provider."""
    return hashlib.sha256(f"{provider}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()


def active_slot(integration: Integration) -> str | None:
    """Return the slot that the integration holds now, None while it is not active."""
    return slot(integration) if integration.status == _S.Active else None


def slot_taken(integration: Integration) -> RuleViolation:
    kind = integration.integration_type
    if kind in _SINGLE:
        what = f"{kind.name} integration"
    elif kind == IntegrationType.CalendarSync:
        what = f"{kind.name} integration of this owner for the same account at the provider"
    else:
        what = f"{kind.name} integration of this provider and name"
    detail = f"Another {what} is active, and only one may be active; suspend or disconnect it first."
    return RuleViolation(detail, code="BR-IM-01")


def check_type_enabled(kind: IntegrationType, disabled: Collection[IntegrationType]) -> None:
    """Raise Conflict for a type that the feature flags of section 16.2 switch off."""
    if kind in disabled:
        detail = f"Integrations of type {kind.name} are switched off in this installation."
        raise Conflict(detail, code="integration-type-disabled")


def check_urls(configuration: Mapping[str, Any], *, allow_loopback: bool) -> None:
    """Require every URL (a field whose name ends in `url`) to be https, or http to loopback if allowed (section 7.1).

    Raises ValidationFailed."""
    errors = []
    for pointer, url in _urls(configuration, "/configuration"):
        try:
            require_https(url, allow_loopback=allow_loopback)
        except BadAddress as error:
            errors.append(FieldError(pointer, f"{error}."))
    if errors:
        raise ValidationFailed("The configuration holds a URL that is not acceptable.", errors)


def _urls(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if isinstance(item, str) and name.lower().endswith("url"):
                yield f"{pointer}/{name}", item
            else:
                yield from _urls(item, f"{pointer}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _urls(item, f"{pointer}/{index}")


#: In a body that activates.
RECIPIENT_POINTER = "/testOptions/recipient"
#: The forms of those who get messages, and what a form is called.
RECIPIENTS: Mapping[IntegrationType, tuple[re.Pattern[str], str]] = {
    IntegrationType.EmailService: (EMAIL_ADDRESS, "an e-mail address"),
    IntegrationType.SMSService: (re.compile(r"\+[1-9][0-9]{6,14}"), "a phone number in E.164"),
}


def check_recipient(kind: IntegrationType, recipient: str | None, pointer: str) -> None:
    """Raise ValidationFailed when the one named cannot get a message of this type."""
    form = RECIPIENTS.get(kind)
    if form is not None and recipient is not None and not form[0].fullmatch(recipient):
        detail = f"Must be {form[1]}."
        raise ValidationFailed(
            "The test message cannot be sent to this recipient.", [FieldError(pointer, detail)]
        )


def message_recipient(kind: IntegrationType, named: str | None, email: str | None) -> str | None:
    """Return who gets a test message (UC-IM-02 step 4): the one named, else the caller, whom no SMS reaches."""
    return named or (email if kind == IntegrationType.EmailService else None)
