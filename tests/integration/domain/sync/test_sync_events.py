"""Exports of domain events to an analytics provider: the adapters' own calls, taken by doubles of the vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import Conflict, ValidationFailed
from domain.core.paging import PageRequest
from domain.journal.events import RaiseEvent
from domain.journal.outbox import EventService
from domain.privacy.suppression import SuppressionList
from domain.providers.analytics import EventCall
from domain.providers.contract import Connection, EventSink, IntegrationType, ProviderFailure
from domain.sync.mapping import FieldMapping
from domain.sync.model import LogKind, SyncJob, SyncStatus
from domain.sync.record_service import PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import SyncService
from infra.providers.ga4.events import GA4Events
from infra.providers.segment.events import SegmentEvents
from tests.worlds.analytics_doubles import MeasurementProtocol, SegmentTracking
from tests.worlds.integration_world import Vendor
from tests.worlds.sync_world import SyncWorld

MAPPED = {
    "BookingConfirmed": {
        "name": "booking_confirmed",
        "userId": "data.guest",
        "properties": {"value": "data.total"},
    },
    "BookingCancelled": {"name": "booking_cancelled"},
}


class Tracker(Vendor):
    """An analytics provider; its calls go to a double, once `failures` are used up."""

    def __init__(self, sink: type[EventSink], double: MeasurementProtocol | SegmentTracking) -> None:
        super().__init__("Tracker", IntegrationType.Analytics)
        self.failures: list[ProviderFailure] = []
        outer = self

        class Doubled(sink):  # type: ignore[misc, valid-type]
            async def deliver(self, connection: Connection, call: EventCall) -> None:
                if outer.failures:
                    raise outer.failures.pop(0)
                answer = double.take(call.body)
                if answer is not None and answer.status == 400:
                    raise ProviderFailure("rejected", "Segment answered 400.", status=400)

        self._sink: EventSink = Doubled()

    @property
    def events(self) -> EventSink:
        return self._sink


class EventWorld(SyncWorld):
    def __init__(self, home: Path) -> None:
        super().__init__(home, size=50)
        self.google, self.segment = MeasurementProtocol(self.clock.now()), SegmentTracking()
        self.trackers = {
            "GA4": Tracker(GA4Events, self.google),
            "Segment": Tracker(SegmentEvents, self.segment),
        }
        self.providers.update(self.trackers)

    async def tracked(self, provider: str, events: dict[str, Any] | None = None) -> UUID:
        made = await self.create(provider, name=f"To {provider}")
        integration = made.integration.integration_id
        if events is not None:
            mapping = FieldMapping.model_validate({"events": events})
            self.hub.use(RecordService).set_mapping(self.principal, integration, mapping, None)
        return integration

    def happen(self, type_: str = "BookingConfirmed", *, id_: str | None = None, **fields: Any) -> None:
        body = {"type": type_, "id": id_, "data": {"total": 42, "guest": "g-1"}, **fields}
        event = RaiseEvent.model_validate_json(json.dumps(body))
        self.hub.use(EventService).accept(self.principal, [event], in_batch=False)

    async def exported(self, integration: UUID) -> SyncJob:
        self.clock.advance(hours=1)
        self.google.now = self.clock.now()
        return await self.synced(integration, "Incremental", direction="Export")

    def refusals(self, job: SyncJob) -> dict[str, str]:
        found = self.hub.use(SyncService).log(
            self.principal, job.data_sync_job_id, [LogKind.Record], PageRequest(1, 200)
        )
        return {entry.external_id: entry.reason for entry in found.items}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EventWorld]:
    made = EventWorld(tmp_path)
    yield made
    made.close()


async def test_an_export_sends_the_events_of_the_mapped_types_since_its_checkpoint(world: EventWorld) -> None:
    integration = await world.tracked("Segment", MAPPED)
    world.happen(id_="b1")
    world.happen("BookingViewed", id_="b2")
    world.happen("BookingCancelled", id_="b3", data={"reason": "weather", "of": {"room": 7}})
    job = await world.exported(integration)
    assert (job.status, job.records_written, job.records_failed) == (SyncStatus.Completed, 2, 0)
    assert {key: (event["event"], event["properties"]) for key, event in world.segment.events.items()} == {
        "b1": ("booking_confirmed", {"value": 42}),
        "b3": ("booking_cancelled", {"reason": "weather", "of": {"room": 7}}),
    }
    assert world.segment.events["b1"]["userId"] == "g-1"
    world.happen(id_="b4")
    again = await world.exported(integration)
    assert again.records_written == 1
    assert (list(world.segment.events), world.segment.dropped) == (["b1", "b3", "b4"], [])
    assert (await world.exported(integration)).records_written == 0


async def test_another_tenants_events_are_not_sent(world: EventWorld) -> None:
    integration = await world.tracked("Segment", MAPPED)
    event = RaiseEvent.model_validate_json('{"type":"BookingConfirmed","data":{}}')
    world.hub.use(EventService).accept(world.other, [event], in_batch=False)
    assert (await world.exported(integration)).records_written == 0
    assert world.segment.events == {}


async def test_events_of_a_process_whose_clock_is_ahead_hold_up_no_others(world: EventWorld) -> None:
    integration = await world.tracked("Segment", MAPPED)
    world.clock.advance(hours=9)
    world.happen(id_="ahead")
    world.clock.advance(hours=-9)
    world.happen(id_="now")
    assert (await world.exported(integration)).records_written == 2
    assert list(world.segment.events) == ["ahead", "now"]


async def test_60_events_are_three_calls_to_ga4(world: EventWorld) -> None:
    integration = await world.tracked("GA4", MAPPED)
    for number in range(60):
        world.happen(id_=f"b{number}")
    job = await world.exported(integration)
    assert (job.status, job.records_written) == (SyncStatus.Completed, 60)
    assert (world.google.calls, world.google.problems) == ([25, 25, 10], [])
    assert {event["user_id"] for event in world.google.events} == {"g-1"}


async def test_what_ga4_would_not_take_is_counted_as_failed_with_the_reason(world: EventWorld) -> None:
    integration = await world.tracked("GA4", {**MAPPED, "BookingNoted": {}})
    long_ago = (world.clock.now() - timedelta(hours=71, minutes=1)).isoformat()
    recent = (world.clock.now() - timedelta(hours=70)).isoformat()
    world.happen(id_="old", occurredAt=long_ago)
    world.happen(id_="recent", occurredAt=recent)
    world.happen("BookingNoted", id_="reserved", data={"ga_id": 1})
    world.happen("BookingNoted", id_="wide", data={f"p{number}": 1 for number in range(26)})
    job = await world.exported(integration)
    assert (job.status, job.records_written, job.records_failed) == (SyncStatus.PartialSuccess, 1, 3)
    assert {key: reason.partition(":")[0] for key, reason in world.refusals(job).items()} == {
        "old": "The event is older than the 72 hours that GA4 takes.",
        "reserved": "GA4 takes no parameter ga_id",
        "wide": "The event has 26 parameters; GA4 takes 25. Map those that count.",
    }
    assert (len(world.google.events), world.google.problems) == (1, [])


async def test_one_event_that_is_rejected_costs_no_other(world: EventWorld) -> None:
    integration = await world.tracked("Segment", {**MAPPED, "Poison": {}})
    for number in range(9):
        world.happen("Poison" if number == 4 else "BookingConfirmed", id_=f"b{number}")
    world.segment.rejects = {"Poison"}
    job = await world.exported(integration)
    assert (job.status, job.records_written, job.records_failed) == (SyncStatus.PartialSuccess, 8, 1)
    assert list(world.refusals(job)) == ["b4"]
    assert set(world.segment.events) == {f"b{number}" for number in range(9)} - {"b4"}


async def test_an_outage_is_waited_out_and_sends_nothing_twice(world: EventWorld) -> None:
    integration = await world.tracked("GA4", MAPPED)
    for number in range(30):
        world.happen(id_=f"b{number}")
    world.trackers["GA4"].failures = [
        *[ProviderFailure("unavailable", "Out of order.")] * 6,
        ProviderFailure("rate_limited", "Slow down.", retry_after_seconds=5),
    ]
    job = await world.exported(integration)
    assert (job.status, job.records_failed, len(world.google.events)) == (SyncStatus.Completed, 0, 30)


async def test_a_cancelled_export_goes_on_where_it_stopped(world: EventWorld) -> None:
    integration = await world.tracked("GA4", MAPPED)
    for number in range(30):
        world.happen(id_=f"b{number}")
    world.clock.advance(hours=1)
    job = world.start(integration, "Incremental", direction="Export")
    await world.run(job, batches=2)  # the first one waits until all events are stored
    world.hub.use(SyncService).cancel(world.principal, job.data_sync_job_id)
    assert len(world.google.events) == 25
    assert (await world.exported(integration)).records_written == 5
    assert len(world.google.events) == 30


async def test_erased_people_stay_out(world: EventWorld) -> None:
    integration = await world.tracked("Segment", {"BookingConfirmed": {}})
    with world.transactions.write() as tx:
        world.hub.use(SuppressionList).add(
            tx, world.principal.tenant_id, ["ada@example.com"], world.clock.now()
        )
        tx.commit()
    world.happen(id_="hers", data={"email": "ada@example.com"})
    world.happen(
        id_="mentions", data={"room": 7, "guests": [{"email": "ada@example.com"}, {"email": "b@example.com"}]}
    )
    world.happen(id_="other", data={"email": "b@example.com"})
    job = await world.exported(integration)
    assert job.status == SyncStatus.Completed
    assert "other" in world.segment.events
    assert "ada@example.com" not in json.dumps(world.segment.events)


async def test_a_mapping_that_fails_costs_its_event_alone(world: EventWorld) -> None:
    mapping = {"BookingConfirmed": {"userId": "data.guest", "properties": {"n": "length(data.list)"}}}
    integration = await world.tracked("Segment", mapping)
    world.happen(id_="good", data={"list": [1, 2]})
    world.happen(id_="bad", data={"list": 7})
    world.happen(id_="who", data={"guest": {"id": 1}, "list": []})
    job = await world.exported(integration)
    assert (job.records_written, job.records_failed) == (1, 2)
    assert world.refusals(job) == {
        "bad": "The mapping of `n` failed.",
        "who": "The mapping of `userId` failed.",
    }
    assert world.segment.events["good"]["properties"] == {"n": 2}


async def test_an_event_behind_the_end_of_a_call_is_refused_once(world: EventWorld) -> None:
    integration = await world.tracked("GA4", MAPPED)
    world.happen(id_="first", data={"guest": "g-1"})
    world.happen(id_="second", data={"guest": "g-2"})
    world.happen(id_="bad", data={"guest": {"id": 1}})
    job = await world.exported(integration)
    assert (world.google.calls, job.records_written, job.records_failed) == ([1, 1], 2, 1)


async def test_an_export_without_mapped_types_says_so(world: EventWorld) -> None:
    job = await world.exported(await world.tracked("Segment"))
    assert (job.status, job.error_code) == (SyncStatus.Failed, "no-event-types")
    assert "PUT the mapping" in str(job.error_log)


@pytest.mark.parametrize("direction", ["Import", "Bidirectional"])
async def test_a_provider_that_only_takes_events_is_not_imported_from(
    world: EventWorld, direction: str
) -> None:
    integration = await world.tracked("GA4", MAPPED)
    with pytest.raises(Conflict) as refusal:
        world.start(integration, "Incremental", direction=direction)
    assert refusal.value.code == "not-importable"
    schedule = PutSchedule(interval_minutes=60, direction=direction)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        world.hub.use(ScheduleService).put(world.principal, integration, schedule, None)
    change = PutRecords.model_validate_json('{"records":[{"localId":"a","data":{"fields":{}}}]}')
    with pytest.raises(Conflict) as refusal:
        world.hub.use(RecordService).change(world.principal, integration, change)
    assert refusal.value.code == "not-exportable"


@pytest.mark.parametrize(
    ("provider", "mapping", "pointer"),
    [
        ("Crm", {"events": {"BookingConfirmed": {}}}, "/events"),
        ("GA4", {"events": {"BookingConfirmed": {"userId": "a["}}}, "/events/BookingConfirmed/userId"),
        (
            "GA4",
            {"events": {"BookingConfirmed": {"properties": {"x/y": "a["}}}},
            "/events/BookingConfirmed/properties/x~1y",
        ),
        ("GA4", {"streams": {"events": {"fields": {"fields": "data"}}}}, "/streams/events"),
        ("GA4", {"events": {"order.paid": {}}}, "/events/order.paid"),
        ("GA4", {"events": {"Paid": {"name": "session_start"}}}, "/events/Paid"),
        ("GA4", {"events": {"Paid": {"properties": {"google_id": "data.id"}}}}, "/events/Paid"),
    ],
)
async def test_a_mapping_of_events_is_checked(
    world: EventWorld, provider: str, mapping: dict[str, Any], pointer: str
) -> None:
    made = await world.create(provider, name="Tracker")
    with pytest.raises(ValidationFailed) as refusal:
        world.hub.use(RecordService).set_mapping(
            world.principal, made.integration.integration_id, FieldMapping.model_validate(mapping), None
        )
    assert [error.pointer for error in refusal.value.errors] == [pointer]


async def test_more_events_than_one_walk_looks_at_are_all_sent(
    world: EventWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration = await world.tracked("Segment", MAPPED)
    for number in range(12):
        world.happen("BookingViewed", id_=f"v{number}")
    world.happen(id_="last")
    monkeypatch.setattr("infra.sql.sync.events.WALKED", 5)
    assert (await world.exported(integration)).records_written == 1
    assert list(world.segment.events) == ["last"]
