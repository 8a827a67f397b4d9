"""Reads what there is to know of a tenant's integrations, their schedules and those it does not have, and asks the
rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from domain.errors import Conflict, NotFound, Unavailable
from domain.insights.model import Signal, SubjectKind, hour_of, total_of
from domain.integrations.model import Integration, IntegrationStatus, IntegrationType
from domain.integrations.ports import IntegrationFilter
from domain.paging import PageRequest, every
from domain.recommendations.facts import WINDOW, IntegrationFacts, ProviderFacts, ScheduleFacts
from domain.recommendations.full_sync_rules import RUNS, is_full_import, reads_in_vain
from domain.recommendations.hourly import Hourly
from domain.recommendations.missing_rules import Flow, MissingFacts, Need, flow_of, needs
from domain.recommendations.model import Advice, Period, Recommendation, Subject, SubjectType
from domain.recommendations.peers import WEEK, Peers, Shown
from domain.recommendations.ports import Providers
from domain.recommendations.provider_rules import INTERCHANGEABLE, does_badly
from domain.recommendations.rules import (
    INTEGRATION_RULES,
    MISSING_RULES,
    PROVIDER_RULES,
    SCHEDULE_RULES,
    recommended,
)
from domain.recommendations.sync_rules import DAYS, fixed_hour, run_days
from domain.sync.jobs import SyncJob
from domain.sync.model import SyncDirection, SyncStatus, SyncType
from domain.sync.ports import JobFilter
from domain.sync.schedules import SyncSchedule
from domain.sync.source import StreamProfile
from domain.unit_of_work import UnitOfWork
from domain.webhooks.model import WebhookState
from domain.webhooks.ports import WebhookFilter

#: What predictions compare with: the two days looked at, and the same hours of the seven days before.
_HEALTH_WINDOW = timedelta(days=9)
#: How far back the days of a weekly schedule are found; signals are kept 90 days unless told otherwise.
_SCHEDULE_WINDOW = timedelta(days=84)
_SAID_AT_MOST = 5_000
#: Deliveries of a webhook that tell which events there are.
_DELIVERIES = 500


class IntegrationAdviser:
    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._peers = Peers()
        self._said: Hourly[list[Advice]] = Hourly(_SAID_AT_MOST)
        self._needs: Hourly[list[Need]] = Hourly(_SAID_AT_MOST)

    def about(self, unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        @cache
        def checks() -> Mapping[UUID, Sequence[Signal]]:
            return _by_subject(unit, tenant_id, SubjectKind.Integration, now - _HEALTH_WINDOW, now)

        found: list[Recommendation] = []
        for one in every(partial(unit.integrations.page, tenant_id, IntegrationFilter())):
            key = (one.integration_id, one.version, one.status, one.health_status)
            said = self._said.get(key, now, partial(self._judged, unit, one, checks, now))
            found += recommended(integration_subject(one), said, now)
            if one.status == IntegrationStatus.Active:
                found += self._about_schedule(unit, one, now)
        return found

    def _judged(
        self,
        unit: UnitOfWork,
        integration: Integration,
        checks: Callable[[], Mapping[UUID, Sequence[Signal]]],
        now: datetime,
    ) -> list[Advice]:
        """By its health checks."""
        hours = checks().get(integration.integration_id, ())
        facts = IntegrationFacts(integration, Period(hour_of(now) - _HEALTH_WINDOW, now), hours)
        said = [advice for rule in INTEGRATION_RULES if (advice := rule(facts)) is not None]
        if integration.status == IntegrationStatus.Active:
            said += self._about_provider(unit, integration, hours, now)
        return said

    def about_missing(self, unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Recommendation]:
        """Types of which there is no integration, not even a draft."""
        there = {
            one.integration_type
            for one in every(partial(unit.integrations.page, tenant_id, IntegrationFilter()))
            if one.status != IntegrationStatus.Disconnected
        }
        found: list[Recommendation] = []
        for need in self._needs.get(tenant_id, now, lambda: needs(_flows(unit, tenant_id, now))):
            if need.integration_type not in there:
                week = Period(now - WEEK, now)
                providers = self._providers.of_type(need.integration_type)
                shown = self._shown(unit, providers, week, to=tenant_id)
                facts = MissingFacts(need, providers, shown, week)
                subject = type_subject(tenant_id, need.integration_type)
                found += recommended(subject, [rule(facts) for rule in MISSING_RULES], now)
        return found

    def _about_provider(
        self, unit: UnitOfWork, integration: Integration, checks: Sequence[Signal], now: datetime
    ) -> list[Advice]:
        if integration.integration_type not in INTERCHANGEABLE:
            return []
        week = Period(now - WEEK, now)
        hours = [one for one in checks if one.hour >= week.since]
        days = [one.hour.date() for one in hours]
        own = Shown.of(integration.provider, total_of([one.tally for one in hours]))
        if not does_badly(own, days):
            return []  # others are only looked at for who may want to change
        tenant_id = integration.tenant_id
        names = self._providers.of_type(integration.integration_type)
        others = self._shown(unit, [one for one in names if one != integration.provider], week, to=tenant_id)
        alike = self._peers.shown(unit, integration.provider, week, to=tenant_id)
        facts = ProviderFacts(integration, week, days, own, alike, others)
        return [said for rule in PROVIDER_RULES if (said := rule(facts)) is not None]

    def _shown(self, unit: UnitOfWork, names: Sequence[str], week: Period, *, to: UUID) -> list[Shown]:
        found = (self._peers.shown(unit, name, week, to=to) for name in names)
        return [one for one in found if one is not None]

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
        return recommended(subject, self._said.get(key, now, advice), now)

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
            return self._providers.streams(integration)
        except (Conflict, Unavailable):
            return ()  # said when its provider can be asked again


def integration_subject(integration: Integration) -> Subject:
    return Subject(SubjectType.Integration, integration.integration_id, integration.name, integration.version)


def type_subject(tenant_id: UUID, integration_type: IntegrationType) -> Subject:
    """Something that is not there has an id of its own."""
    id_ = uuid5(tenant_id, f"integration-type/{integration_type.name}")
    return Subject(SubjectType.IntegrationType, id_, integration_type.name)


def _flows(unit: UnitOfWork, tenant_id: UUID, now: datetime) -> list[Flow]:
    """What each active webhook was sent."""
    since = now - WINDOW
    attempts = unit.outcomes.attempts(tenant_id, since)
    found = []
    for webhook in every(partial(unit.webhooks.page, tenant_id, WebhookFilter())):
        known = attempts.get(webhook.webhook_id)
        if webhook.state != WebhookState.Active or known is None:
            continue
        newest = unit.outcomes.newest(tenant_id, webhook.webhook_id, since=since, limit=_DELIVERIES)
        deliveries = [one for one in newest if one.scheduled_at < now]
        if deliveries:
            host = urlsplit(webhook.url).hostname or ""
            is_cut = len(newest) == _DELIVERIES
            period = Period(max(since, webhook.created_at), now)
            found.append(flow_of(host, period, deliveries, known if is_cut else None))
    return found


def _by_subject(
    unit: UnitOfWork, tenant_id: UUID, kind: SubjectKind, since: datetime, until: datetime
) -> defaultdict[UUID, list[Signal]]:
    """In order of their hours."""
    found: defaultdict[UUID, list[Signal]] = defaultdict(list)
    signals = unit.signals.read(tenant_id, kind, since=hour_of(since), until=until)
    for one in sorted(signals, key=lambda signal: signal.hour):
        found[one.subject_id].append(one)
    return found
