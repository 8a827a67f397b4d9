"""Reading the facts about a tenant's webhooks, keys and integrations, and asking the rules for advice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.usage import Bucket
from domain.core.errors import Conflict, NotFound, Unavailable
from domain.core.paging import PageRequest, every
from domain.core.ports import Clock
from domain.core.shown_address import host_of
from domain.core.text_length import cut
from domain.core.transaction import Transactions
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.ports import IntegrationFilter
from domain.journal.signals import KeyHours, Signal, SubjectKind, hour_of, total_of
from domain.monitoring.anomalies.ports import SeenTrait, Trait
from domain.providers.contract import IntegrationType
from domain.providers.records import StreamProfile
from domain.recommendations.benchmarks import WEEK, Hourly, Peers, ProviderBenchmark
from domain.recommendations.facts import (
    WINDOW,
    IntegrationFacts,
    KeyFacts,
    ProviderFacts,
    ScheduleFacts,
    WebhookFacts,
    period_of,
)
from domain.recommendations.integration_rules import (
    INTERCHANGEABLE,
    Flow,
    MissingFacts,
    Need,
    does_badly,
    flow_of,
    needs,
)
from domain.recommendations.model import (
    Advice,
    Period,
    Recommendation,
    RecommendationKind,
    RecommendationSubject,
    SubjectType,
    recommendation_id,
)
from domain.recommendations.ports import Attempts, Providers, RecommendationTransaction
from domain.recommendations.rules import (
    INTEGRATION_RULES,
    KEY_RULES,
    MISSING_RULES,
    PROVIDER_RULES,
    SCHEDULE_RULES,
    WEBHOOK_RULES,
    advice_of,
    ordered,
    recommended,
)
from domain.recommendations.sync_rules import DAYS, RUNS, fixed_hour, is_full_import, reads_in_vain, run_days
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import JobFilter
from domain.sync.schedules import SyncSchedule
from domain.webhooks.model import Webhook, WebhookState
from domain.webhooks.ports import WebhookFilter

#: What predictions compare with: the two days looked at, and the same hours of the seven days before.
_HEALTH_WINDOW = timedelta(days=9)
#: How far back the days of a weekly schedule are found; signals are kept 90 days unless told otherwise.
_SCHEDULE_WINDOW = timedelta(days=84)

#: Deliveries of a webhook that tell which events there are.
_DELIVERIES = 500


class IntegrationAdviser:
    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._peers = Peers()
        self._advice: Hourly[list[Advice]] = Hourly(_ADVICE_AT_MOST)
        self._needs: Hourly[list[Need]] = Hourly(_ADVICE_AT_MOST)

    def about(self, tx: RecommendationTransaction, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        @cache
        def checks() -> Mapping[UUID, Sequence[Signal]]:
            return _by_subject(tx, tenant_id, SubjectKind.Integration, since=now - _HEALTH_WINDOW, until=now)

        found: list[Recommendation] = []
        for integration in every(partial(tx.integrations.page, tenant_id, IntegrationFilter())):
            subject = integration_subject(integration)
            key = (subject.id, subject.version, integration.status, integration.health_status)
            advice = self._advice.get(key, now, partial(self._advise, tx, integration, checks, now))
            found += recommended(subject, advice, now)
            if integration.status == IntegrationStatus.Active:
                found += self._about_schedule(tx, integration, now)
        return found

    def _advise(
        self,
        tx: RecommendationTransaction,
        integration: Integration,
        checks: Callable[[], Mapping[UUID, Sequence[Signal]]],
        now: datetime,
    ) -> list[Advice]:
        hours = checks().get(integration.integration_id, ())
        facts = IntegrationFacts(integration, Period(hour_of(now) - _HEALTH_WINDOW, now), hours)
        advice = advice_of(INTEGRATION_RULES, facts)
        if integration.status == IntegrationStatus.Active:
            advice += self._about_provider(tx, integration, hours, now)
        return advice

    def about_missing(
        self, tx: RecommendationTransaction, tenant_id: UUID, now: datetime
    ) -> list[Recommendation]:
        """Recommend types of which the tenant has no integration, not even a draft."""
        present = {
            integration.integration_type
            for integration in every(partial(tx.integrations.page, tenant_id, IntegrationFilter()))
            if integration.status != IntegrationStatus.Disconnected
        }
        found: list[Recommendation] = []
        for need in self._needs.get(tenant_id, now, lambda: needs(_flows(tx, tenant_id, now))):
            if need.integration_type not in present:
                week = Period(now - WEEK, now)
                providers = self._providers.of_type(need.integration_type)
                benchmarks = self._benchmarks(tx, providers, week, to=tenant_id)
                facts = MissingFacts(need, providers, benchmarks, week)
                subject = type_subject(tenant_id, need.integration_type)
                found += recommended(subject, advice_of(MISSING_RULES, facts), now)
        return found

    def _about_provider(
        self, tx: RecommendationTransaction, integration: Integration, checks: Sequence[Signal], now: datetime
    ) -> list[Advice]:
        if integration.integration_type not in INTERCHANGEABLE:
            return []
        week = Period(now - WEEK, now)
        hours = [check for check in checks if check.hour >= week.since]
        days = [hour.hour.date() for hour in hours]
        own = ProviderBenchmark.of(integration.provider, total_of([hour.tally for hour in hours]))
        if not does_badly(own, days):
            return []  # other providers are read only where a change may be worth it
        tenant_id = integration.tenant_id
        names = self._providers.of_type(integration.integration_type)
        other_names = [name for name in names if name != integration.provider]
        others = self._benchmarks(tx, other_names, week, to=tenant_id)
        alike = self._peers.benchmark(tx, integration.provider, week, to=tenant_id)
        facts = ProviderFacts(integration, week, days, own, alike, others)
        return advice_of(PROVIDER_RULES, facts)

    def _benchmarks(
        self, tx: RecommendationTransaction, names: Sequence[str], week: Period, *, to: UUID
    ) -> list[ProviderBenchmark]:
        found = (self._peers.benchmark(tx, name, week, to=to) for name in names)
        return [benchmark for benchmark in found if benchmark is not None]

    def _about_schedule(
        self, tx: RecommendationTransaction, integration: Integration, now: datetime
    ) -> list[Recommendation]:
        try:
            schedule = tx.sync_settings.schedule(integration.tenant_id, integration.integration_id)
        except NotFound:
            return []
        has_rules = fixed_hour(schedule.expression) is not None or is_full_import(schedule)
        if not (schedule.is_enabled and has_rules):
            return []
        subject = replace(integration_subject(integration), version=schedule.version)

        def advice() -> list[Advice]:
            return advice_of(SCHEDULE_RULES, self._schedule_facts(tx, integration, schedule, now))

        key = (subject.id, subject.version, "schedule")
        return recommended(subject, self._advice.get(key, now, advice), now)

    def _schedule_facts(
        self, tx: RecommendationTransaction, integration: Integration, schedule: SyncSchedule, now: datetime
    ) -> ScheduleFacts:
        today = now.replace(hour=0)
        longest = Period(today - _SCHEDULE_WINDOW, today)
        days = run_days(schedule, longest)[-DAYS:] if fixed_hour(schedule.expression) is not None else []
        since = today - timedelta(days=(today.date() - days[0]).days) if days else today
        tenant_id, integration_id = integration.tenant_id, integration.integration_id
        hours = tx.signals.read(
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
            runs = tx.sync_jobs.page(tenant_id, well, PageRequest(1, RUNS)).items[::-1]
        streams: Sequence[StreamProfile] = ()
        # Reading the streams opens the secrets, so it is done only where needed.
        if reads_in_vain(schedule, runs):
            # The advice follows when the provider can be reached again.
            with suppress(Conflict, Unavailable):
                streams = self._providers.streams(integration)
        return ScheduleFacts(schedule, Period(since, today), _in_order(hours), runs, streams)


def integration_subject(integration: Integration) -> RecommendationSubject:
    return RecommendationSubject(
        SubjectType.Integration, integration.integration_id, integration.name, integration.version
    )


def type_subject(tenant_id: UUID, integration_type: IntegrationType) -> RecommendationSubject:
    """Return the subject of a type that the tenant does not have; its id is derived from both."""
    id_ = uuid5(tenant_id, f"integration-type/{integration_type.name}")
    return RecommendationSubject(SubjectType.IntegrationType, id_, integration_type.name)


def _flows(tx: RecommendationTransaction, tenant_id: UUID, now: datetime) -> list[Flow]:
    since = now - WINDOW
    attempts = tx.outcomes.attempts(tenant_id, since)
    found = []
    for webhook in every(partial(tx.webhooks.page, tenant_id, WebhookFilter())):
        known = attempts.get(webhook.webhook_id)
        if webhook.state != WebhookState.Active or known is None:
            continue
        newest = tx.outcomes.newest(tenant_id, webhook.webhook_id, since=since, limit=_DELIVERIES)
        deliveries = [delivery for delivery in newest if delivery.scheduled_at < now]
        if deliveries:
            host = urlsplit(webhook.url).hostname or ""
            is_cut = len(newest) == _DELIVERIES
            period = Period(max(since, webhook.created_at), now)
            found.append(flow_of(host, period, deliveries, known if is_cut else None))
    return found


def _by_subject(
    tx: RecommendationTransaction, tenant_id: UUID, kind: SubjectKind, *, since: datetime, until: datetime
) -> defaultdict[UUID, list[Signal]]:
    found: defaultdict[UUID, list[Signal]] = defaultdict(list)
    signals = tx.signals.read(tenant_id, kind, since=hour_of(since), until=until)
    for signal in _in_order(signals):
        found[signal.subject_id].append(signal)
    return found


def _in_order(signals: Iterable[Signal]) -> list[Signal]:
    return sorted(signals, key=lambda signal: signal.hour)


_Scopes = Mapping[UUID, Sequence[SeenTrait]]
_ADVICE_AT_MOST = 5_000
#: Deliveries looked at of a webhook of which some failed.
_OUTCOMES = 2_000
#: The fewest failures on which a rule about them advises.
ENOUGH_FAILURES = 10


class Adviser:
    """Recommends by the rules. `max_retries` is the platform's cap (BR-WH-03)."""

    def __init__(
        self,
        transactions: Transactions[RecommendationTransaction],
        usage: KeyHours,
        providers: Providers,
        clock: Clock,
        *,
        max_retries: int,
    ) -> None:
        self._transactions = transactions
        self._usage = usage
        self._integrations = IntegrationAdviser(providers)
        self._clock = clock
        self._max_retries = max_retries
        self._advice: Hourly[list[Advice]] = Hourly(_ADVICE_AT_MOST)

    def advise(self, tenant_id: UUID, types: Sequence[SubjectType]) -> list[Recommendation]:
        """Return recommendations about subjects of these types, the most urgent first. Raises Unavailable."""
        # Whole hours: nothing changes by the minute, and a language model is asked about the same things once.
        now = hour_of(self._clock.now())
        found: list[Recommendation] = []
        keys: Sequence[ApiKey] = ()
        scopes: _Scopes = {}
        with self._transactions.read() as tx:
            if SubjectType.Webhook in types:
                found += self._about_webhooks(tx, tenant_id, now)
            if SubjectType.Integration in types:
                found += self._integrations.about(tx, tenant_id, now)
            if SubjectType.IntegrationType in types:
                found += self._integrations.about_missing(tx, tenant_id, now)
            if SubjectType.ApiKey in types:
                keys = _keys(tx, tenant_id, KeyFilter(status=KeyStatus.Active), now)
                scopes = tx.sightings.known_of([key.api_key_id for key in keys], Trait.Scope)
        found += self._about_keys(tenant_id, keys, scopes, now)
        return ordered(found)

    def could_recommend(self, tenant_id: UUID, id_: UUID) -> bool:
        """Return whether the id is of a recommendation about a subject of the tenant, holding or not."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            integrations = every(partial(tx.integrations.page, tenant_id, IntegrationFilter()))
            subjects = [
                *map(webhook_subject, every(partial(tx.webhooks.page, tenant_id, WebhookFilter()))),
                *map(key_subject, _keys(tx, tenant_id, KeyFilter(), now)),
                *map(integration_subject, integrations),
            ]
        subjects += [type_subject(tenant_id, type_) for type_ in IntegrationType]
        return any(
            recommendation_id(kind, subject.id) == id_ for subject in subjects for kind in RecommendationKind
        )

    def _about_webhooks(
        self, tx: RecommendationTransaction, tenant_id: UUID, now: datetime
    ) -> list[Recommendation]:
        attempts = tx.outcomes.attempts(tenant_id, hour_of(now) - WINDOW)
        found: list[Recommendation] = []
        for webhook in every(partial(tx.webhooks.page, tenant_id, WebhookFilter())):
            known = attempts.get(webhook.webhook_id, Attempts(0, 0, now))
            # All rules but that of the rate begin with failures.
            if known.failed >= ENOUGH_FAILURES or (known.total and webhook.rate_limit_per_second is not None):
                subject = webhook_subject(webhook)
                key = (subject.id, subject.version, webhook.state.name)
                advice = self._advice.get(key, now, partial(self._advise, tx, webhook, now))
                found += recommended(subject, advice, now)
        return found

    def _advise(self, tx: RecommendationTransaction, webhook: Webhook, now: datetime) -> list[Advice]:
        period = period_of(webhook.modified_at, webhook.created_at, now)
        tenant_id, webhook_id = webhook.tenant_id, webhook.webhook_id
        hours = tx.signals.read(
            tenant_id, SubjectKind.Webhook, since=period.since, until=now, subject_id=webhook_id
        )
        outcomes = tx.outcomes.newest(tenant_id, webhook_id, since=period.since, limit=_OUTCOMES)
        facts = WebhookFacts(webhook, period, _in_order(hours), outcomes, self._max_retries)
        return advice_of(WEBHOOK_RULES, facts)

    def _about_keys(
        self, tenant_id: UUID, keys: Sequence[ApiKey], scopes: _Scopes, now: datetime
    ) -> list[Recommendation]:
        hours: defaultdict[UUID, list[Bucket]] = defaultdict(list)
        try:
            ids = [key.api_key_id for key in keys]
            signals = self._usage.hours(tenant_id, ids, since=hour_of(now) - WINDOW, until=hour_of(now))
        except Unavailable:
            signals = []  # other advice does not depend on the table store
        for signal in _in_order(signals):
            tally, errors = signal.tally, signal.tally.errors
            bucket = Bucket(signal.hour, tally.succeeded, errors.get("limited", 0), errors.get("refused", 0))
            hours[signal.subject_id].append(bucket)
        found: list[Recommendation] = []
        for key in keys:
            period = period_of(key.modified_at, key.created_at, now)
            since = [hour for hour in hours[key.api_key_id] if hour.start >= period.since]
            facts = KeyFacts(key, period, since, scopes.get(key.api_key_id, ()))
            found += recommended(key_subject(key), advice_of(KEY_RULES, facts), now)
        return found


def _keys(tx: RecommendationTransaction, tenant_id: UUID, filter_: KeyFilter, now: datetime) -> list[ApiKey]:
    return list(every(lambda page: tx.api_keys.page(tenant_id, filter_, page, now)))


def webhook_subject(webhook: Webhook) -> RecommendationSubject:
    name = webhook.description or host_of(webhook.url)
    return RecommendationSubject(SubjectType.Webhook, webhook.webhook_id, cut(name, 200), webhook.version)


def key_subject(key: ApiKey) -> RecommendationSubject:
    return RecommendationSubject(SubjectType.ApiKey, key.api_key_id, key.key_name, key.version)
