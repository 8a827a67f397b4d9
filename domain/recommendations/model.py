"""Recommendations (section 10.1): what to change, why, and the effect to expect, all from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID, uuid5


class RecommendationKind(StrEnum):
    """The rule that a recommendation comes from; also the anchor of its explanation in docs/recommendations.md."""

    WebhookUnauthorized = "webhook-unauthorized"
    WebhookPause = "webhook-pause"
    WebhookAdaptiveRetry = "webhook-adaptive-retry"
    WebhookLongerRetries = "webhook-longer-retries"
    WebhookLongerTimeout = "webhook-longer-timeout"
    WebhookShorterTimeout = "webhook-shorter-timeout"
    WebhookRefusedEvents = "webhook-refused-events"
    WebhookLowerRate = "webhook-lower-rate"
    WebhookHigherRate = "webhook-higher-rate"
    KeyHigherLimit = "key-higher-limit"
    KeyUnused = "key-unused"
    KeyUnusedScopes = "key-unused-scopes"
    KeyWithoutExpiry = "key-without-expiry"
    IntegrationFailurePredicted = "integration-failure-predicted"
    IntegrationMissing = "integration-missing"
    IntegrationOtherProvider = "integration-other-provider"
    SyncBetterTime = "sync-better-time"
    SyncIncremental = "sync-incremental"


class SubjectType(StrEnum):
    """What a recommendation is about. `IntegrationType` is a type of which the tenant has no integration."""

    Webhook = "Webhook"
    ApiKey = "ApiKey"
    Integration = "Integration"
    IntegrationType = "IntegrationType"


class Priority(IntEnum):
    """How urgent a recommendation is.

    - `Now`: something is lost, or about to be.
    - `Soon`: work is wasted.
    - `Later`: tidying up."""

    Now = 1
    Soon = 2
    Later = 3


class Confidence(IntEnum):
    """How much was measured (`confidence_of`); of a prediction, how narrow its range is."""

    Low = 0
    Medium = 1
    High = 2


class Operation(StrEnum):
    UpdateWebhook = "update_webhook"
    UpdateApiKey = "update_api_key"
    RevokeApiKey = "revoke_api_key"
    PutSyncSchedule = "put_sync_schedule"


@dataclass(frozen=True, slots=True)
class Period:
    since: datetime
    until: datetime

    @property
    def days(self) -> float:
        """Return the days, at least an hour."""
        return max((self.until - self.since) / timedelta(days=1), 1 / 24)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was measured, or follows from such: its name on the wire, its unit, and its period."""

    name: str
    value: float
    unit: str
    period: Period | None = None


@dataclass(frozen=True, slots=True)
class RecommendationSubject:
    """What it is about; `version` is that of the thing to change when its evidence was read."""

    type: SubjectType
    id: UUID
    name: str
    version: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a recommendation does. `body` is that of the request a person would send."""

    operation: Operation
    body: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        """Return whether the change cannot be undone: a revoked key, or scopes removed from one (BR-AK-06)."""
        return self.operation == Operation.RevokeApiKey or "scopes" in self.body


@dataclass(frozen=True, slots=True)
class Advice:
    """What a rule says; `change` is None where only a person can do it, `effects` empty where unknown."""

    kind: RecommendationKind
    priority: Priority
    title: str
    explanation: str
    evidence: Sequence[Figure]
    confidence: Confidence
    effects: Sequence[Figure] = ()
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Advice about a subject, of evidence up to `created_at`.

    Its id is the same whenever the rule says it of the subject, so that decisions last."""

    recommendation_id: UUID
    subject: RecommendationSubject
    advice: Advice
    created_at: datetime


def recommendation_id(kind: RecommendationKind, subject_id: UUID) -> UUID:
    return uuid5(subject_id, f"recommendation/{kind.value}")


def confidence_of(observations: float, days: Sequence[date]) -> Confidence:
    """Return High for 100 observations on 3 days or more, Medium for 30 on 2 days."""
    distinct = len(set(days))
    if observations >= 100 and distinct >= 3:
        return Confidence.High
    return Confidence.Medium if observations >= 30 and distinct >= 2 else Confidence.Low


class RecommendationStatus(IntEnum):
    """The status of a recommendation. `Gone`: it was dismissed, and no longer holds."""

    Open = 0
    Applied = 1
    Dismissed = 2
    Gone = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """Applied or Dismissed; `until` ends a dismissal; `snapshot` is the recommendation then, as JSON text."""

    recommendation_id: UUID
    status: RecommendationStatus
    decided_at: datetime
    decided_by: UUID
    snapshot: str
    reason: str | None = None
    until: datetime | None = None
