"""Reads what there is to know of a tenant's webhooks, keys and integrations, and asks the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

from domain.anomalies.ports import Known, Trait
from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.usage import Bucket
from domain.errors import Unavailable
from domain.insights.model import Signal, SubjectKind, hour_of
from domain.insights.ports import KeyHours
from domain.integrations.model import IntegrationType
from domain.integrations.ports import IntegrationFilter
from domain.paging import every
from domain.ports import Clock
from domain.recommendations.advising_integrations import IntegrationAdviser, integration_subject, type_subject
from domain.recommendations.facts import (
    WINDOW,
    KeyFacts,
    WebhookFacts,
    period_of,
)
from domain.recommendations.hourly import Hourly
from domain.recommendations.model import (
    Advice,
    Recommendation,
    RecommendationKind,
    Subject,
    SubjectType,
    recommendation_id,
)
from domain.recommendations.ports import Attempts, Providers
from domain.recommendations.rules import (
    KEY_RULES,
    WEBHOOK_RULES,
    ordered,
    recommended,
)
from domain.unit_of_work import UnitOfWork, UnitsOfWork
from domain.webhooks.model import Webhook
from domain.webhooks.ports import WebhookFilter

_SAID_AT_MOST = 5_000
#: Deliveries looked at of a webhook of which some failed.
_OUTCOMES = 2_000
#: The fewest with which a rule about failures says anything.
ENOUGH_FAILURES = 10


class Adviser:
    """`max_retries` is the platform's cap (BR-WH-03)."""

    def __init__(
        self, units: UnitsOfWork, usage: KeyHours, providers: Providers, clock: Clock, *, max_retries: int
    ) -> None:
        self._units = units
        self._usage = usage
        self._integrations = IntegrationAdviser(providers)
        self._clock = clock
        self._max_retries = max_retries
        self._said: Hourly[list[Advice]] = Hourly(_SAID_AT_MOST)

    def advise(self, tenant_id: UUID, types: Sequence[SubjectType]) -> list[Recommendation]:
        """About subjects of these types, the most urgent first. Raises Unavailable."""
        # Whole hours: nothing changes by the minute, and a language model is asked about the same things once.
        now = hour_of(self._clock.now())
        found: list[Recommendation] = []
        keys: Sequence[ApiKey] = ()
        scopes: Mapping[UUID, Sequence[Known]] = {}
        with self._units.read() as unit:
            if SubjectType.Webhook in types:
                found += self._about_webhooks(unit, tenant_id, now)
            if SubjectType.Integration in types:
                found += self._integrations.about(unit, tenant_id, now)
            if SubjectType.IntegrationType in types:
                found += self._integrations.about_missing(unit, tenant_id, now)
            if SubjectType.ApiKey in types:
                keys = _keys(unit, tenant_id, KeyFilter(status=KeyStatus.Active), now)
                scopes = unit.sightings.known_of([one.api_key_id for one in keys], Trait.Scope)
        found += self._about_keys(tenant_id, keys, scopes, now)
        return ordered(found)

    def could_say(self, tenant_id: UUID, id_: UUID) -> bool:
        """Whether an id is that of a recommendation about something the tenant has, whether or not it holds."""
        now = self._clock.now()
        with self._units.read() as unit:
            subjects = [
                *map(webhook_subject, every(partial(unit.webhooks.page, tenant_id, WebhookFilter()))),
                *map(key_subject, _keys(unit, tenant_id, KeyFilter(), now)),
                *map(
                    integration_subject,
                    every(partial(unit.integrations.page, tenant_id, IntegrationFilter())),
                ),
            ]
        subjects += [type_subject(tenant_id, one) for one in IntegrationType]
        return any(recommendation_id(kind, one.id) == id_ for one in subjects for kind in RecommendationKind)

    def _about_webhooks(self, unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        attempts = unit.outcomes.attempts(tenant_id, hour_of(now) - WINDOW)
        found: list[Recommendation] = []
        for webhook in every(partial(unit.webhooks.page, tenant_id, WebhookFilter())):
            known = attempts.get(webhook.webhook_id, Attempts(0, 0, now))
            # All rules but that of the rate begin with failures.
            if known.failed >= ENOUGH_FAILURES or (known.total and webhook.rate_limit_per_second is not None):
                subject = webhook_subject(webhook)
                key = (subject.id, subject.version, webhook.state.name)
                said = self._said.get(key, now, partial(self._judged, unit, webhook, now))
                found += recommended(subject, said, now)
        return found

    def _judged(self, unit: UnitOfWork, webhook: Webhook, now: datetime) -> list[Advice]:
        facts = self._webhook_facts(unit, webhook, now)
        return [said for rule in WEBHOOK_RULES if (said := rule(facts)) is not None]

    def _webhook_facts(self, unit: UnitOfWork, webhook: Webhook, now: datetime) -> WebhookFacts:
        period = period_of(webhook.modified_at, webhook.created_at, now)
        tenant_id, webhook_id = webhook.tenant_id, webhook.webhook_id
        hours = unit.signals.read(
            tenant_id, SubjectKind.Webhook, since=period.since, until=now, subject_id=webhook_id
        )
        outcomes = unit.outcomes.newest(tenant_id, webhook_id, since=period.since, limit=_OUTCOMES)
        in_order = sorted(hours, key=lambda one: one.hour)
        return WebhookFacts(webhook, period, in_order, outcomes, self._max_retries)

    def _about_keys(
        self, tenant_id: UUID, keys: Sequence[ApiKey], scopes: Mapping[UUID, Sequence[Known]], now: datetime
    ) -> list[Recommendation]:
        hours: defaultdict[UUID, list[Bucket]] = defaultdict(list)
        try:
            ids = [one.api_key_id for one in keys]
            signals = self._usage.hours(tenant_id, ids, since=hour_of(now) - WINDOW, until=hour_of(now))
        except Unavailable:
            signals = []  # what depends on no table store is said all the same
        for one in sorted(signals, key=lambda signal: signal.hour):
            hours[one.subject_id].append(_bucket(one))
        found: list[Recommendation] = []
        for key in keys:
            period = period_of(key.modified_at, key.created_at, now)
            since = [one for one in hours[key.api_key_id] if one.start >= period.since]
            facts = KeyFacts(key, period, since, scopes.get(key.api_key_id, ()))
            found += recommended(key_subject(key), [rule(facts) for rule in KEY_RULES], now)
        return found


def _keys(unit: UnitOfWork, tenant_id: UUID, filter_: KeyFilter, now: datetime) -> list[ApiKey]:
    return list(every(lambda page: unit.api_keys.page(tenant_id, filter_, page, now)))


def webhook_subject(webhook: Webhook) -> Subject:
    name = webhook.description or urlsplit(webhook.url).netloc
    return Subject(SubjectType.Webhook, webhook.webhook_id, name[:200], webhook.version)


def key_subject(key: ApiKey) -> Subject:
    return Subject(SubjectType.ApiKey, key.api_key_id, key.key_name, key.version)


def _bucket(signal: Signal) -> Bucket:
    errors = signal.tally.errors
    return Bucket(signal.hour, signal.tally.succeeded, errors.get("limited", 0), errors.get("refused", 0))
