"""Export and erasure of a person (17.3), over SQLite with synchronised records, events, incoming webhooks and logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import Forbidden, NotFound, Unavailable, ValidationFailed
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.incoming.model import IncomingBody, IncomingStatus, IncomingWebhook, body_context
from domain.integrations.model import IntegrationLog, LogLevel
from domain.journal.audit_log import AuditService
from domain.journal.event_types import FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.privacy.erasing import ErasureService
from domain.privacy.exporting import ExportService, HeldItem
from domain.privacy.model import AllowSubject, EraseSubject, Erasure, ErasureStatus, ExportSubject
from domain.privacy.places import EventPlace, RecordPlace
from domain.privacy.suppression import SuppressionList
from domain.sync.model import RecordError
from domain.sync.record_service import PutRecords, RecordService
from infra.sql.privacy.personal_data import SqlPersonalData
from tests.worlds.sync_world import SyncWorld

JANE, JOHN = "jane@example.com", "john@example.com"


class PrivacyWorld(SyncWorld):
    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.erasures, self.exports = self.hub.use(ErasureService), self.hub.use(ExportService)

    def erase(self, *identifiers: str, owner: Principal | None = None, **fields: Any) -> Erasure:
        body = {"identifiers": list(identifiers), **fields}
        command = EraseSubject.model_validate_json(json.dumps(body))
        return self.erasures.request(owner or self.principal, command)

    def erased(self, *identifiers: str, **fields: Any) -> Erasure:
        """Request an erasure and complete it."""
        erasure = self.erase(*identifiers, **fields)
        self.clock.advance(minutes=2)
        self.erasures.erase_requested()
        return self.erasures.get(self.principal, erasure.erasure_id)

    def export(self, *identifiers: str, limit: int = 500, **fields: Any) -> list[HeldItem]:
        """Return the items of all parts."""
        items: list[HeldItem] = []
        cursor = None
        while True:
            body = {"identifiers": list(identifiers), "cursor": cursor, "limit": limit, **fields}
            part = self.exports.page(self.principal, ExportSubject.model_validate_json(json.dumps(body)))
            items += part.items
            cursor = part.cursor
            if cursor is None:
                return items

    def event(self, event_id: str, data: dict[str, Any], subject: str | None = None) -> None:
        event = DomainEvent(
            event_id,
            self.principal.tenant_id,
            "Booked",
            json.dumps(data),
            self.clock.now(),
            subject,
            origin=FROM_PLATFORM,
        )
        with self.transactions.write() as tx:
            tx.outbox.append([event])
            tx.commit()

    def incoming(self, integration_id: UUID, body: str) -> UUID:
        """Store a request of one event; return the id of its body."""
        tenant, now, body_id = self.principal.tenant_id, self.clock.now(), self.ids.new()
        text = json.dumps(
            {"method": "POST", "url": "https://h.example/", "headers": {}, "body": {"text": body}}
        )
        sealed = self.cipher.seal(text, context=body_context(body_id))
        webhook = IncomingWebhook(
            self.ids.new(),
            tenant,
            integration_id,
            body_id,
            str(body_id),
            "crm.changed",
            IncomingStatus.Processed,
            1,
            now,
        )
        with self.transactions.write() as tx:
            tx.incoming.add(tenant, [IncomingBody(body_id, tenant, integration_id, sealed, now)], [webhook])
            tx.commit()
        return body_id

    def log(self, integration_id: UUID, message: str) -> None:
        with self.transactions.write() as tx:
            tx.integration_logs.append(
                [IntegrationLog(self.ids.new(), integration_id, LogLevel.Error, message, self.clock.now())]
            )
            tx.commit()

    def dump(self) -> str:
        """Every value of the database, with sealed requests opened."""
        with self.database.read() as connection:
            names = [
                row[0]
                for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            rows = [
                list(row) for name in names for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"')
            ]
            bodies = connection.exec_driver_sql("SELECT IncomingBodyId, Request FROM IncomingBodies").all()
        opened = [self.cipher.open(sealed, context=body_context(UUID(key))) for key, sealed in bodies]
        return json.dumps([rows, opened], default=str).casefold()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PrivacyWorld]:
    made = PrivacyWorld(tmp_path)
    yield made
    made.close()


async def settled(world: PrivacyWorld) -> UUID:
    """Make an integration with two contacts, and traces of Jane in every place."""
    world.crm.put("c1", email=JANE, firstName="Jane")
    world.crm.put("c2", email=JOHN, firstName="John")
    integration_id = await world.integration()
    job = await world.synced(integration_id)
    world.event("e1", {"booking": 42, "guest": {"email": JANE.upper(), "name": "Jane"}}, f"guest/{JANE}")
    world.event("e2", {"booking": 43, "guest": {"email": JOHN, "name": "John"}})
    world.incoming(integration_id, json.dumps({"type": "contact", "email": JANE}))
    world.incoming(integration_id, json.dumps({"type": "contact", "email": JOHN}))
    world.log(integration_id, f"The provider refused {JANE}.")
    error = RecordError(
        world.ids.new(), job.data_sync_job_id, "contacts", JANE, "", "Bad.", world.clock.now()
    )
    with world.transactions.write() as tx:
        tx.sync_jobs.log_errors(world.principal.tenant_id, [error])
        tx.commit()
    world.rows("SELECT 1")
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE DataSyncJobs SET RecordsFailed = 1")
        connection.commit()
    return integration_id


async def test_an_export_shows_what_every_place_holds_and_nothing_of_others(world: PrivacyWorld) -> None:
    await settled(world)
    items = world.export(JANE)
    assert [item.kind for item in items] == [
        "Record",
        "Event",
        "IncomingWebhook",
        "IntegrationLog",
        "RecordError",
    ]
    assert items[0].ids["externalId"] == "c1"
    assert items[0].data["firstName"] == "Jane"
    assert json.loads(items[1].data["data"].text)["booking"] == 42
    assert JOHN not in json.dumps([item.data for item in items], default=lambda kept: kept.text)
    assert [item.kind for item in world.export(JANE, limit=1)] == [item.kind for item in items]


async def test_nothing_of_an_erased_person_is_left_in_the_database(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    assert JANE in world.dump()
    erasure = world.erased(JANE)
    assert erasure.status == ErasureStatus.Completed
    assert erasure.counts == {
        "records": 1,
        "events": 1,
        "incomingWebhooks": 1,
        "integrationLogs": 1,
        "recordErrors": 1,
    }
    assert JANE not in world.dump()
    assert JOHN in world.dump()
    assert world.export(JANE) == []
    assert set(world.live(integration_id)) == {"c2"}
    assert world.stored(integration_id)["c1"].deleted_at is not None, "who reads the records learns of it"
    payloads = {
        key: json.loads(text) for key, text in world.rows("SELECT EventId, Payload FROM DomainEvents")
    }
    assert payloads["e1"] == {"booking": 42, "guest": {"email": None, "name": None}}
    assert payloads["e2"]["guest"]["name"] == "John"


async def test_the_audit_log_tells_of_it_without_the_person_and_still_verifies(world: PrivacyWorld) -> None:
    await settled(world)
    world.export(JANE)
    world.erased(JANE)
    told = {action: after for action, _, after in world.audited() if action.startswith("privacy.")}
    assert told["privacy.exported"]["items"] == 5
    assert told["privacy.erasure-requested"] == {"identifiers": 1, "records": 0, "suppress": True}
    assert told["privacy.erased"]["records"] == 1
    assert JANE not in json.dumps(world.audited()).casefold()
    assert world.hub.use(AuditService).verify(world.principal).intact


async def test_an_erased_person_does_not_come_back_with_the_next_sync(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    world.erased(JANE)
    world.clock.advance(days=2)
    world.crm.put("c3", email=JANE, firstName="Jane", lastName="Again")
    world.crm.put("c1", email="jane@new.example", firstName="Jane")
    job = await world.synced(integration_id)
    assert job.records_processed == 3
    assert set(world.live(integration_id)) == {"c2"}
    assert JANE not in world.dump()
    assert "jane@new.example" not in world.dump(), "the record is known to be about her"


async def test_someone_who_is_allowed_again_comes_back(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    world.erased(JANE)
    record = {"integrationId": str(integration_id), "stream": "contacts", "externalId": "c1"}
    command = AllowSubject.model_validate_json(json.dumps({"identifiers": [JANE], "records": [record]}))
    assert world.erasures.allow(world.principal, command) == 2
    assert world.erasures.allow(world.principal, command) == 0
    world.clock.advance(days=2)
    await world.synced(integration_id)
    assert set(world.live(integration_id)) == {"c1", "c2"}


async def test_without_suppression_the_next_sync_brings_the_record_back(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    world.erased(JANE, suppress=False)
    assert set(world.live(integration_id)) == {"c2"}
    world.clock.advance(days=2)
    await world.synced(integration_id)
    assert set(world.live(integration_id)) == {"c1", "c2"}


async def test_a_record_is_erased_by_its_id_at_once(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    record = {"integrationId": str(integration_id), "stream": "contacts", "externalId": "c2"}
    assert [item.ids["externalId"] for item in world.export(records=[record])] == ["c2"]
    erasure = world.erase(records=[record])
    assert (erasure.status, erasure.counts) == (ErasureStatus.Completed, {"records": 1})
    assert set(world.live(integration_id)) == {"c1"}
    assert world.erase(records=[record]).counts == {"records": 0}
    world.clock.advance(days=2)
    await world.synced(integration_id)
    assert set(world.live(integration_id)) == {"c1"}


async def test_an_own_change_of_an_erased_record_is_not_pushed(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    change = {"externalId": "c1", "data": {"email": JANE, "lastName": "Doe"}}
    command = PutRecords.model_validate_json(json.dumps({"records": [change]}))
    assert world.hub.use(RecordService).change(world.principal, integration_id, command).stored == 1
    world.erased(JANE)
    world.clock.advance(days=2)
    await world.synced(integration_id, direction="Bidirectional")
    assert world.crm.pushes == []
    assert JANE not in world.dump()


async def test_what_the_tenant_set_beside_the_provider_is_erased_too(world: PrivacyWorld) -> None:
    """A guest that the tenant took out of a record is named only where it is kept what the provider has."""
    integration_id = await settled(world)
    local = json.dumps({"ours": {"company": None}, "theirs": {"company": f"{JANE} and sons"}})
    with world.database.write() as connection:
        statement = "UPDATE SyncedRecords SET LocalFields = ? WHERE ExternalId = 'c2'"
        connection.exec_driver_sql(statement, (local,))
    assert JANE in world.dump()
    world.erased(JANE)
    assert JANE not in world.dump()
    assert set(world.live(integration_id)) == {"c2"}


async def test_an_erasure_goes_on_where_it_was_after_a_crash(
    world: PrivacyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(40):
        world.event(f"e{index:03}", {"guest": {"email": JANE, "n": index}})
    monkeypatch.setattr(EventPlace, "batch", 10)
    erasure = world.erase(JANE)
    world.clock.advance(minutes=2)
    erase, crash = EventPlace.erase, iter([False] * 25 + [True])

    def dies(*arguments: Any) -> Any:
        if next(crash):
            raise Unavailable("The database went away.")
        return erase(*arguments)

    monkeypatch.setattr(EventPlace, "erase", dies)
    with pytest.raises(Unavailable):
        world.erasures.erase_requested()
    half = world.erasures.get(world.principal, erasure.erasure_id)
    assert (half.status, half.counts["events"]) == (ErasureStatus.Running, 20)
    monkeypatch.setattr(EventPlace, "erase", erase)
    assert world.erasures.erase_requested() == 1
    done = world.erasures.get(world.principal, erasure.erasure_id)
    assert (done.status, done.counts["events"], done.sealed) == (ErasureStatus.Completed, 40, None)
    assert JANE not in world.dump()


async def test_large_events_are_read_a_few_at_a_time(
    world: PrivacyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        world.event(f"e{index}", {"guest": {"email": JANE, "note": "x" * 1000}})
    monkeypatch.setattr(EventPlace, "most_bytes", 2000)
    read: list[int] = []
    reading = SqlPersonalData.events

    def counted(self: SqlPersonalData, *arguments: Any, **options: Any) -> list[DomainEvent]:
        found = reading(self, *arguments, **options)
        read.append(len(found))
        return found

    monkeypatch.setattr(SqlPersonalData, "events", counted)
    shown = world.export(JANE)
    world.erase(JANE)
    world.clock.advance(minutes=2)
    assert world.erasures.erase_requested() == 1
    assert len(shown) == 5
    assert max(read) == 2
    assert JANE not in world.dump()


async def test_a_record_that_changes_while_it_is_erased_is_looked_at_again(
    world: PrivacyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration_id = await settled(world)
    erasure = world.erase(JANE)
    world.clock.advance(minutes=2)
    holds = RecordPlace.holds

    def changing(*arguments: Any) -> bool:
        monkeypatch.setattr(RecordPlace, "holds", holds)
        change = {"externalId": "c1", "data": {"email": JANE, "lastName": "Doe"}}
        command = PutRecords.model_validate_json(json.dumps({"records": [change]}))
        world.hub.use(RecordService).change(world.principal, integration_id, command)
        return holds(*arguments)

    monkeypatch.setattr(RecordPlace, "holds", changing)
    assert world.erasures.erase_requested() == 0
    assert world.erasures.erase_requested() == 1
    assert world.erasures.get(world.principal, erasure.erasure_id).counts["records"] == 1
    assert JANE not in world.dump()


async def test_a_batch_under_way_ends_before_the_search_begins(world: PrivacyWorld) -> None:
    world.erase(JANE)
    world.clock.advance(seconds=30)
    assert world.erasures.erase_requested() == 0
    world.clock.advance(seconds=31)
    assert world.erasures.erase_requested() == 1
    assert world.erasures.erase_requested() == 0


async def test_a_deletion_at_the_provider_and_one_by_erasure_are_the_same_to_a_full_sync(
    world: PrivacyWorld,
) -> None:
    integration_id = await settled(world)
    world.erased(JANE)
    del world.crm.records["c1"]
    world.clock.advance(days=2)
    job = await world.synced(integration_id)
    assert job.records_deleted == 0
    assert set(world.live(integration_id)) == {"c2"}


async def test_another_tenants_people_stay(world: PrivacyWorld) -> None:
    integration_id = await settled(world)
    record = {"integrationId": str(integration_id), "stream": "contacts", "externalId": "c2"}
    erasure = world.erase(JANE, owner=world.other, records=[record])
    world.clock.advance(minutes=2)
    assert world.erasures.erase_requested() == 1
    assert set(world.live(integration_id)) == {"c1", "c2"}
    with pytest.raises(NotFound):
        world.erasures.get(world.principal, erasure.erasure_id)
    assert world.erasures.page(world.principal, PageRequest()).total == 0
    assert world.erasures.page(world.other, PageRequest()).total == 1


async def test_a_suppression_list_whose_key_is_gone_stops_syncs_rather_than_bring_someone_back(
    world: PrivacyWorld,
) -> None:
    integration_id = await settled(world)
    world.erased(JANE)
    world.secrets.values = {
        name: value for name, value in world.secrets.values.items() if not name.startswith("suppression-key")
    }
    fresh = SuppressionList(world.transactions, world.secrets)
    with pytest.raises(Unavailable):
        fresh.of_tenant(world.principal.tenant_id)
    assert set(world.live(integration_id)) == {"c2"}


def test_everything_needs_its_permission(world: PrivacyWorld) -> None:
    nobody = Principal(world.principal.tenant_id, world.principal.user_id, frozenset({"integration:admin"}))
    command = {"identifiers": [JANE]}
    with pytest.raises(Forbidden):
        world.exports.page(nobody, ExportSubject.model_validate(command))
    with pytest.raises(Forbidden):
        world.erasures.request(nobody, EraseSubject.model_validate(command))
    with pytest.raises(Forbidden):
        world.erasures.allow(nobody, AllowSubject.model_validate(command))
    with pytest.raises(Forbidden):
        world.erasures.page(nobody, PageRequest())


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "WzAsIFsieCJdXQ==", "Wzk5LCBudWxsXQ==", "WzIsIFsiMCIsICIwIiwgIjAiXV0=", "e30=", "WzEsIFtdXQ=="],
)
def test_a_made_up_cursor_is_refused(world: PrivacyWorld, cursor: str) -> None:
    command = ExportSubject(identifiers=[JANE], cursor=cursor or "=")
    with pytest.raises(ValidationFailed):
        world.exports.page(world.principal, command)
