"""One integration between the hub and a peer: both sides are edited, runs of any kind go between, requests fail; and
what has to be left in the end is told from the moments of the edits alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.ports import Clock
from domain.sync.model import BatchState, SyncDirection, SyncedRecord, SyncJob, SyncStatus, SyncType
from domain.sync.ports import LocalChanges
from domain.sync.record_service import PutRecords, RecordService
from tests.worlds.builders import TENANT, USER
from tests.worlds.calendar_peers import CalDavPeer, GooglePeer, GraphPeer
from tests.worlds.crm_peers import HubSpotPeer, SalesforcePeer
from tests.worlds.record_peers import PeerVendor, RecordPeer
from tests.worlds.sync_world import SyncWorld

PEERS: dict[str, Callable[[Clock], RecordPeer]] = {
    "Google": GooglePeer,
    "Outlook": GraphPeer,
    "CalDAV": CalDavPeer,
    "HubSpot": HubSpotPeer,
    "Salesforce": SalesforcePeer,
}


class BothWays:
    """`world` may be shared by many: each makes an integration of its own."""

    def __init__(self, world: SyncWorld, peer: RecordPeer, integration_id: UUID) -> None:
        self.world, self.peer, self.integration_id = world, peer, integration_id

    @classmethod
    async def between(cls, world: SyncWorld, peer: RecordPeer) -> BothWays:
        name = f"Peer{len(world.providers)}"
        world.providers[name] = PeerVendor(peer, name)
        made = await world.create(name, name=name)
        return cls(world, peer, made.integration.integration_id)

    def put(self, data: Mapping[str, Any] | None, **which: Any) -> LocalChanges:
        """`PUT /records` with one record."""
        body = {"records": [{**which, "data": data}]}
        command = PutRecords.model_validate_json(json.dumps(body))
        return self.world.hub.use(RecordService).change(self.world.principal, self.integration_id, command)

    def edit(self, mark: str, token: str) -> None:
        """The tenant creates the record of that mark, or changes it."""
        known = self.row(mark)
        which = {"externalId": known.external_id} if known else {"localId": mark}
        assert self.put(self.peer.record(mark, token), **which).stored == 1

    def remove(self, mark: str) -> None:
        known = self.row(mark)
        assert known is not None
        assert self.put(None, externalId=known.external_id).stored == 1

    def row(self, mark: str) -> SyncedRecord | None:
        for record in self.world.stored(self.integration_id).values():
            if record.data is not None and self.peer.read(json.loads(record.data))[0] == mark:
                return record
        return None

    def held(self) -> dict[str, str]:
        """Mark to token of what the hub has."""
        rows = [self.peer.read(data) for data in self.world.live(self.integration_id).values()]
        assert len({mark for mark, _ in rows}) == len(rows), "one record twice"
        return dict(rows)

    async def sync(self, sync_type: str = "Incremental", direction: str = "Bidirectional") -> SyncJob:
        """The steps of a job, an hour after what was before. Whoever asks for a job and gives it a place is left out:
        they take most of the time."""
        self.world.clock.advance(hours=1)
        now = self.world.clock.now()
        job = SyncJob(
            data_sync_job_id=self.world.ids.new(),
            tenant_id=TENANT,
            integration_id=self.integration_id,
            sync_type=SyncType[sync_type],
            direction=SyncDirection[direction],
            status=SyncStatus.Running,
            scheduled_at=now,
            created_at=now,
            created_by=USER,
            run_number=1,
            run_started_at=now,
        )
        with self.world.transactions.write() as tx:
            tx.sync_jobs.add(TENANT, job)
            tx.commit()
        result = await self.world.carry_out(job, 1)
        is_done = result.state == BatchState.Done
        with self.world.transactions.write() as tx:
            ran = tx.sync_jobs.find(job.data_sync_job_id)
            assert ran is not None
            ended = replace(ran, status=SyncStatus.Completed if is_done else SyncStatus.Failed)
            assert tx.sync_jobs.move(ended, SyncStatus.Running)
            tx.commit()
        return ended

    async def settle(self) -> None:
        """One run in both directions makes both sides equal, and the next changes nothing on either."""
        self.peer.faults, self.peer.meanwhile = [], lambda: None
        job = await self.sync()
        assert (job.status, job.records_failed) == (SyncStatus.Completed, 0), self.log(job)
        assert self.held() == self.peer.held()
        before, writes = self.world.stored(self.integration_id), self.peer.writes
        job = await self.sync()
        assert job.status == SyncStatus.Completed
        assert (job.records_written, job.records_deleted, job.records_failed) == (0, 0, 0), self.log(job)
        assert (self.world.stored(self.integration_id), self.peer.writes) == (before, writes)
        assert not any(record.export_pending for record in before.values())
        assert self.peer.overwritten == []

    def log(self, job: SyncJob) -> list[tuple[str, str]]:
        """External id and reason of what the run says of records."""
        rows = self.world.rows(
            "SELECT ExternalId, Reason FROM SyncRecordErrors WHERE DataSyncJobId = ? AND Kind = 'Record'",
            job.data_sync_job_id.hex,
        )
        return [(key, reason) for key, reason in rows]


@dataclass(slots=True)
class Edit:
    at: datetime
    side: str
    token: str | None  # None deletes
    may_lose: bool = False


@dataclass
class Sequence:
    """Random edits, deletions, runs and failures. `edits` are those of each mark, oldest first."""

    both: BothWays
    rng: random.Random
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    tokens: int = 0

    async def play(self, steps: int) -> None:
        await self.both.sync(direction="Import")
        for _ in range(steps):
            self._tick()
            if self.rng.random() < 0.3:
                await self._run()
            elif self.rng.random() < 0.5:
                self._edit_hub()
            else:
                self._edit_peer()
        await self.both.settle()
        held = self.both.held()
        for mark, edits in self.edits.items():
            assert held.get(mark) in self._allowed(edits), (mark, held.get(mark), edits)
        assert set(held) <= set(self.edits)

    @staticmethod
    def _allowed(edits: list[Edit]) -> set[str | None]:
        """The last edit stands (BR-DS-07). A deletion of which the provider tells no moment, and one of a record that
        the hub does not know to be created, may also lose to an edit that the hub had not pushed yet."""
        allowed = {edits[-1].token}
        if edits[-1].may_lose:
            allowed |= {edit.token for edit in edits if edit.side == "hub"}
        return allowed

    async def _run(self) -> None:
        faults = [None, None, None, None, None, "lost", "refused"]
        if self.rng.random() < 0.5:
            self.both.peer.faults = [self.rng.choice(faults) for _ in range(8)]
        if self.rng.random() < 0.3:
            left = self.rng.randrange(8)

            def meanwhile() -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    self._tick()
                    self._edit_peer()

            self.both.peer.meanwhile = meanwhile
        sync_type = self.rng.choice(["Incremental", "Incremental", "Incremental", "Full", "Differential"])
        direction = self.rng.choice(["Bidirectional", "Bidirectional", "Import", "Export"])
        await self.both.sync(sync_type, direction)
        self.both.peer.faults, self.both.peer.meanwhile = [], lambda: None

    def _tick(self) -> None:
        self.both.world.clock.advance(seconds=self.rng.choice([1, 40, 400]))

    def _edit_hub(self) -> None:
        self._edit("hub", self.both.held(), self.both.edit, self.both.remove)

    def _edit_peer(self) -> None:
        self._edit("peer", self.both.peer.held(), self.both.peer.put, self.both.peer.delete)

    def _edit(
        self,
        side: str,
        held: Mapping[str, str],
        put: Callable[[str, str], object],
        delete: Callable[[str], object],
    ) -> None:
        known = sorted(held)
        mark = f"{side}{len(self.edits)}" if not known or self.rng.random() < 0.25 else self.rng.choice(known)
        is_deleted = mark in held and self.rng.random() < 0.3
        self.tokens += 1
        token = None if is_deleted else f"v{self.tokens}"
        known_as = self.both.row(mark) if is_deleted and side == "peer" else None
        may_lose = known_as is not None and (
            not self.both.peer.tells_deletions or known_as.external_id.startswith("local:")
        )
        if token is None:
            delete(mark)
        else:
            put(mark, token)
        self.edits.setdefault(mark, []).append(Edit(self.both.world.clock.now(), side, token, may_lose))
