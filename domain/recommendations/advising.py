"""Reads what there is to know of a tenant's webhooks, keys and integrations, and asks the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.usage import Bucket
from domain.errors import Conflict, NotFound, Unavailable
from domain.insights.model import Signal, SubjectKind, hour_of
from domain.insights.ports import KeyHours
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.ports import IntegrationFilter
from domain.paging import MAX_PAGE_SIZE, PageRequest
from domain.ports import Clock
from domain.recommendations.facts import (
    WINDOW,
    IntegrationFacts,
    KeyFacts,
    ScheduleFacts,
    WebhookFacts,
    period_of,
)
from domain.recommendations.full_sync_rules import RUNS, is_full_import, reads_in_vain
from domain.recommendations.model import (
    Advice,
    Period,
    Recommendation,
    RecommendationKind,
    Subject,
    SubjectType,
    recommendation_id,
)
from domain.recommendations.ports import Attempts
from domain.recommendations.rules import (
    INTEGRATION_RULES,
    KEY_RULES,
    SCHEDULE_RULES,
    WEBHOOK_RULES,
    ordered,
    recommended,
)
from domain.recommendations.sync_rules import DAYS, fixed_hour, run_days
from domain.sync.jobs import SyncJob
from domain.sync.model import SyncDirection, SyncStatus, SyncType
from domain.sync.ports import JobFilter
from domain.sync.schedules import SyncSchedule
from domain.sync.source import StreamProfile
from domain.unit_of_work import UnitOfWork, UnitsOfWork
from domain.webhooks.model import Webhook
from domain.webhooks.ports import WebhookFilter

#: What the provider of an integration has to synchronise. Raises Conflict, Unavailable.
Streams = Callable[[Integration], Sequence[StreamProfile]]

_FIRST = PageRequest(1, MAX_PAGE_SIZE)
#: What predictions compare with: the two days looked at, and the same hours of the seven days before.
_HEALTH_WINDOW = timedelta(days=9)
#: How far back the days of a weekly schedule are found; signals are kept 90 days unless told otherwise.
_SCHEDULE_WINDOW = timedelta(days=84)
_SAID_AT_MOST = 5_000
#: Deliveries looked at of a webhook of which some failed.
_OUTCOMES = 2_000
#: The fewest with which a rule about failures says anything.
ENOUGH_FAILURES = 10


class Adviser:
    """`max_retries` is the platform's cap (BR-WH-03)."""

    def __init__(
        self, units: UnitsOfWork, usage: KeyHours, streams: Streams, clock: Clock, *, max_retries: int
    ) -> None:
        self._units = units
        self._usage = usage
        self._streams = streams
        self._clock = clock
        self._max_retries = max_retries
        self._said: dict[tuple[UUID, int, str], list[Advice]] = {}
        self._said_at: datetime | None = None

    def advise(self, tenant_id: UUID, types: Sequence[SubjectType]) -> list[Recommendation]:
        """About subjects of these types, the most urgent first; the first 200 of each. Raises Unavailable."""
        # Whole hours: nothing changes by the minute, and a language model is asked about the same things once.
        now = hour_of(self._clock.now())
        found: list[Recommendation] = []
        keys: Sequence[ApiKey] = ()
        with self._units.read() as unit:
            if SubjectType.Webhook in types:
                found += self._about_webhooks(unit, tenant_id, now)
            if SubjectType.Integration in types:
                found += self._about_integrations(unit, tenant_id, now)
            if SubjectType.ApiKey in types:
                keys = unit.api_keys.page(tenant_id, KeyFilter(status=KeyStatus.Active), _FIRST, now).items
        found += self._about_keys(tenant_id, keys, now)
        return ordered(found)

    def could_say(self, tenant_id: UUID, id_: UUID) -> bool:
        """Whether an id is that of a recommendation about something the tenant has, whether or not it holds."""
        now = self._clock.now()
        with self._units.read() as unit:
            subjects = [
                webhook_subject(one) for one in unit.webhooks.page(tenant_id, WebhookFilter(), _FIRST).items
            ]
            subjects += [
                key_subject(one) for one in unit.api_keys.page(tenant_id, KeyFilter(), _FIRST, now).items
            ]
            integrations = unit.integrations.page(tenant_id, IntegrationFilter(), _FIRST).items
        subjects += [integration_subject(one) for one in integrations]
        return any(recommendation_id(kind, one.id) == id_ for one in subjects for kind in RecommendationKind)

    def _about_webhooks(self, unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        attempts = unit.outcomes.attempts(tenant_id, hour_of(now) - WINDOW)
        found: list[Recommendation] = []
        for webhook in unit.webhooks.page(tenant_id, WebhookFilter(), _FIRST).items:
            known = attempts.get(webhook.webhook_id, Attempts(0, 0))
            # All rules but that of the rate begin with failures.
            if known.failed >= ENOUGH_FAILURES or (known.total and webhook.rate_limit_per_second is not None):
                subject = webhook_subject(webhook)
                key = (subject.id, subject.version, webhook.state.name)
                said = self._once_an_hour(key, now, partial(self._judged, unit, webhook, now))
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

    def _about_integrations(self, unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        signals = _by_subject(unit, tenant_id, SubjectKind.Integration, now - _HEALTH_WINDOW, now)
        found: list[Recommendation] = []
        for one in unit.integrations.page(tenant_id, IntegrationFilter(), _FIRST).items:
            period = Period(hour_of(now) - _HEALTH_WINDOW, now)
            facts = IntegrationFacts(one, period, signals[one.integration_id])
            found += recommended(integration_subject(one), [rule(facts) for rule in INTEGRATION_RULES], now)
            if one.status == IntegrationStatus.Active:
                found += self._about_schedule(unit, one, now)
        return found

    def _about_schedule(
        self, unit: UnitOfWork, integration: Integration, now: datetime
    ) -> list[Recommendation]:
        try:
            schedule = unit.sync_settings.schedule(integration.tenant_id, integration.integration_id)
        except NotFound:
            return []
        if not schedule.is_enabled or not (
            fixed_hour(schedule.expression) is not None or is_full_import(schedule)
        ):
            return []
        subject = replace(integration_subject(integration), version=schedule.version)

        def advice() -> list[Advice]:
            facts = self._schedule_facts(unit, integration, schedule, now)
            return [said for rule in SCHEDULE_RULES if (said := rule(facts)) is not None]

        key = (subject.id, subject.version, "schedule")
        return recommended(subject, self._once_an_hour(key, now, advice), now)

    def _schedule_facts(
        self, unit: UnitOfWork, integration: Integration, schedule: SyncSchedule, now: datetime
    ) -> ScheduleFacts:
        today = now.replace(hour=0)
        longest = Period(today - _SCHEDULE_WINDOW, today)
        days = run_days(schedule, longest)[-DAYS:] if fixed_hour(schedule.expression) is not None else []
        since = today - timedelta(days=(today.date() - days[0]).days) if days else today
        tenant_id, integration_id = integration.tenant_id, integration.integration_id
        hours = unit.signals.read(
            tenant_id, SubjectKind.Integration, since=since, until=today, subject_id=integration_id
        )
        runs: Sequence[SyncJob] = ()
        if is_full_import(schedule):
            well = JobFilter(
                integration_id,
                statuses=(SyncStatus.Completed, SyncStatus.PartialSuccess),
                types=(SyncType.Full,),
                directions=(SyncDirection.Import,),
                since=max(schedule.modified_at, longest.since),
                until=today,
            )
            runs = unit.sync_jobs.page(tenant_id, well, PageRequest(1, RUNS)).items[::-1]
        # Asking for the streams opens the secrets: not for nothing.
        streams = self._streams_of(integration) if reads_in_vain(schedule, runs) else ()
        in_order = sorted(hours, key=lambda one: one.hour)
        return ScheduleFacts(schedule, Period(since, today), in_order, runs, streams)

    def _streams_of(self, integration: Integration) -> Sequence[StreamProfile]:
        try:
            return self._streams(integration)
        except (Conflict, Unavailable):
            return ()  # said when its provider can be asked again

    def _once_an_hour(
        self, key: tuple[UUID, int, str], now: datetime, advice: Callable[[], list[Advice]]
    ) -> list[Advice]:
        """What the rules say of a subject as it is does not change within the hour: its hours are whole. Reading them
        is what costs."""
        if self._said_at != now or len(self._said) >= _SAID_AT_MOST:
            self._said, self._said_at = {}, now
        said = self._said
        if key not in said:
            said[key] = advice()
        return said[key]

    def _about_keys(self, tenant_id: UUID, keys: Sequence[ApiKey], now: datetime) -> list[Recommendation]:
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
            facts = KeyFacts(key, period, since)
            found += recommended(key_subject(key), [rule(facts) for rule in KEY_RULES], now)
        return found


def webhook_subject(webhook: Webhook) -> Subject:
    name = webhook.description or urlsplit(webhook.url).netloc
    return Subject(SubjectType.Webhook, webhook.webhook_id, name[:200], webhook.version)


def key_subject(key: ApiKey) -> Subject:
    return Subject(SubjectType.ApiKey, key.api_key_id, key.key_name, key.version)


def integration_subject(integration: Integration) -> Subject:
    return Subject(SubjectType.Integration, integration.integration_id, integration.name, integration.version)


def _by_subject(
    unit: UnitOfWork, tenant_id: UUID, kind: SubjectKind, since: datetime, until: datetime
) -> defaultdict[UUID, list[Signal]]:
    """In order of their hours."""
    found: defaultdict[UUID, list[Signal]] = defaultdict(list)
    signals = unit.signals.read(tenant_id, kind, since=hour_of(since), until=until)
    for one in sorted(signals, key=lambda signal: signal.hour):
        found[one.subject_id].append(one)
    return found


def _bucket(signal: Signal) -> Bucket:
    errors = signal.tally.errors
    return Bucket(signal.hour, signal.tally.succeeded, errors.get("limited", 0), errors.get("refused", 0))
