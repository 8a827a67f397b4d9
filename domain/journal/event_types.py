"""Where events come from, and which types only the hub and its integrations raise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Final, Self
from uuid import UUID


class OriginKind(IntEnum):
    """Who raised an event; `Test`: a person tried a webhook with it."""

    Platform = 0
    Hub = 1
    Provider = 2
    Test = 3


@dataclass(frozen=True, slots=True)
class EventOrigin:
    """Where an event comes from: one of a provider names it, and the integration that received it."""

    kind: OriginKind
    provider: str | None = None
    integration_id: UUID | None = None

    @classmethod
    def of_provider(cls, provider: str, integration_id: UUID) -> Self:
        return cls(OriginKind.Provider, provider, integration_id)


FROM_PLATFORM: Final = EventOrigin(OriginKind.Platform)
FROM_HUB: Final = EventOrigin(OriginKind.Hub)
FROM_TEST: Final = EventOrigin(OriginKind.Test)


class HubEvent(StrEnum):
    """The types of the events that the hub raises by itself. It can raise no other (`build_event`)."""

    PaymentGatewayConnected = "PaymentGatewayConnected"
    PaymentGatewayDisconnected = "PaymentGatewayDisconnected"
    EmailServiceConnected = "EmailServiceConnected"
    SMSServiceConnected = "SMSServiceConnected"
    CalendarSyncEnabled = "CalendarSyncEnabled"
    CalendarSyncDisabled = "CalendarSyncDisabled"
    IntegrationStatusChanged = "IntegrationStatusChanged"
    IntegrationHealthChanged = "IntegrationHealthChanged"
    IntegrationAuthorized = "IntegrationAuthorized"
    APIKeyGenerated = "APIKeyGenerated"
    APIKeyRevoked = "APIKeyRevoked"
    APIKeyRotated = "APIKeyRotated"
    APIKeyExpired = "APIKeyExpired"
    WebhookReceived = "WebhookReceived"
    WebhookSent = "WebhookSent"
    WebhookDeliveryFailed = "WebhookDeliveryFailed"
    WebhookDisabled = "WebhookDisabled"
    DataSyncInitiated = "DataSyncInitiated"
    DataSyncCompleted = "DataSyncCompleted"
    DataSyncFailed = "DataSyncFailed"
    DataSyncCancelled = "DataSyncCancelled"
    AlertRaised = "AlertRaised"
    AlertRecovered = "AlertRecovered"
    AlertClosed = "AlertClosed"
    AnomalyDetected = "AnomalyDetected"


#: What the hub says to receivers about their webhooks, and what connectors raise, each under its own name.
_PREFIXES: Final = ("webhook", "connector")
_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ReservedTypes:
    """The types that other modules cannot raise: `names`, and all that begin with one of `prefixes` (`stripe.`)."""

    names: Sequence[str]
    prefixes: Sequence[str]

    def reserving(self, type_: str) -> str | None:
        """Return the name or prefix under which a type is reserved, None for a free one.

        What is before the first dot decides, without regard to case or to `_` and `-` at its ends: a receiver may
        compare as loosely, and `WebhookDisabled.v2` looks like the hub's too."""
        return self._entries.get(_folded(type_.partition(".")[0]))

    @cached_property
    def _entries(self) -> Mapping[str, str]:
        return {_folded(entry): entry for entry in (*self.names, *self.prefixes)}


def reserved_types(providers: Iterable[str]) -> ReservedTypes:
    """Return what is reserved in a hub with these providers."""
    prefixes = {*_PREFIXES, *(prefix_of(provider) for provider in providers)}
    return ReservedTypes(sorted(HubEvent), sorted(f"{prefix}." for prefix in prefixes))


def prefix_of(provider: str) -> str:
    """Return what the types of a provider's events begin with, before the dot."""
    return _NOT_IN_TYPE.sub("", provider).lower()


def _folded(text: str) -> str:
    return text.rstrip(".").strip("_-").lower()
