"""Expressions that are cheap to write kept a thread for minutes a batch, and the preview of them the whole pool."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Conflict
from domain.core.paging import PageRequest
from domain.providers.records import SourceRecord
from domain.providers.untrusted import WorkStopped
from domain.sync import effort
from domain.sync.mapping import FieldMapping
from domain.sync.model import LogKind
from domain.sync.record_service import PreviewMapping, RecordService
from domain.sync.service import SyncService
from domain.sync.transforming import RefusedRecord, Transformer
from tests.worlds.heartbeat import beating
from tests.worlds.sync_world import SyncWorld
from tests.worlds.untrusted_world import rest_transformer, work_of, work_pool

#: Each pays for all that a record may come to, and makes next to nothing.
COSTLY = {
    f"f{number}": f"length([?a>`{number}`&&b!='x'].[a,b][])" if number % 2 else "sum([*].a)"
    for number in range(50)
}
ROWS = [{"a": number, "b": str(number)} for number in range(9_000)]


def costly() -> Transformer:
    fields = {name: f"source.rows|{expression}" for name, expression in COSTLY.items()}
    return rest_transformer({"recordType": "Generic", "fields": fields})


def records(count: int) -> list[SourceRecord]:
    return [SourceRecord(str(number), {"rows": ROWS}) for number in range(count)]


async def test_a_batch_of_costly_expressions_is_given_up_and_holds_up_nobody() -> None:
    transformer = costly()
    with work_pool(seconds=2.0) as pool:
        await pool.perform("b", os.getpid)
        async with beating() as heartbeat:
            batch = effort.for_each(work_of(pool, "a"), transformer.transform, transformer, records(300))
            attack = asyncio.ensure_future(batch)
            other = rest_transformer({"fields": {"fields": "{first: source.rows[0].a}"}})
            kept = await effort.for_each(work_of(pool, "b"), other.transform, other, records(3))
            with pytest.raises(WorkStopped) as stopped:
                await asyncio.wait_for(attack, 40)
    assert stopped.value.reason == "time"
    assert not [record for record in kept if isinstance(record, RefusedRecord)]
    assert heartbeat.is_steady, heartbeat


async def test_what_is_beyond_the_budget_of_a_batch_is_what_it_would_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(effort, "EFFORT_HERE", 0)
    transformer = rest_transformer({"fields": {"fields": "{n: source.n, sum: sum(source.all)}"}})
    given = [SourceRecord(str(number), {"n": number, "all": [1, number]}) for number in range(20)]
    given.append(SourceRecord("odd", {"n": 1, "all": "no list"}))
    with work_pool(seconds=30) as pool:
        apart = await effort.for_each(work_of(pool, "a"), transformer.transform, transformer, given)
    assert apart == [transformer.transform(record) for record in given]
    assert isinstance(apart[-1], RefusedRecord)


class Stopping:
    """Work that always takes too long."""

    async def perform(self, tenant: str, task: Any, *arguments: Any) -> Any:
        raise WorkStopped("time", "Reading it took more than 30 s.")


async def test_a_sync_goes_on_with_smaller_batches_saying_why_and_a_preview_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "EFFORT_HERE", 0)
    world = SyncWorld(tmp_path, untrusted_work=Stopping())
    for number in range(4):
        world.crm.put(str(number))
    integration = await world.integration()
    mapping = {"streams": {"contacts": {"fields": {"company": "source.email"}}}}
    body = FieldMapping.model_validate_json(json.dumps(mapping))
    service = world.hub.use(RecordService)
    service.set_mapping(world.principal, integration, body, None)
    job = await world.synced(integration)
    assert (job.status.name, len(world.live(integration))) == ("Completed", 4)
    log = world.hub.use(SyncService).log
    told = log(world.principal, job.data_sync_job_id, [LogKind.Retry], PageRequest()).items
    assert "(mapping-too-expensive) and is tried again with 3 records at most" in told[0].reason
    assert told[0].reason.endswith("simplify them. Reading it took more than 30 s.")
    with pytest.raises(Conflict) as refused:
        await service.preview(world.principal, integration, PreviewMapping())
    assert refused.value.code == "mapping-too-expensive"
