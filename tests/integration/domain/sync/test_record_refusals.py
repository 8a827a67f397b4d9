"""Refusals of records and mappings that come from what the provider can do, or says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Conflict
from domain.providers.contract import ProviderFailure
from domain.providers.records import RecordType, StreamProfile
from domain.sync.record_service import PreviewMapping, PutRecords, RecordService
from tests.worlds.sync_world import Crm, SyncWorld


class ReadOnlyCrm(Crm):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return [StreamProfile("contacts", RecordType.Contact, True, True, exportable=False)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    yield made
    made.close()


async def test_a_provider_that_takes_no_records_gets_none(world: SyncWorld) -> None:
    integration = await world.integration()
    world.providers["Crm"] = ReadOnlyCrm()
    body = {"records": [{"localId": "mine", "data": {"email": "a@example.com"}}]}
    command = PutRecords.model_validate_json(json.dumps(body))
    with pytest.raises(Conflict) as refused:
        world.hub.use(RecordService).change(world.principal, integration, command)
    assert refused.value.code == "not-exportable"
    for direction in ("Export", "Bidirectional"):
        with pytest.raises(Conflict) as refused:
            world.start(integration, direction=direction)
        assert refused.value.code == "not-exportable"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("unavailable", "provider-unavailable"),
        ("rate_limited", "provider-unavailable"),
        ("unauthorized", "provider-refused"),
        ("forbidden", "provider-refused"),
        ("rejected", "provider-refused"),
    ],
)
async def test_a_preview_says_what_the_provider_said(world: SyncWorld, kind: Any, code: str) -> None:
    integration = await world.integration()
    world.crm.failures = [ProviderFailure(kind, "No such list.")]
    with pytest.raises(Conflict) as refused:
        await world.hub.use(RecordService).preview(world.principal, integration, PreviewMapping())
    assert (refused.value.code, refused.value.detail) == (code, "No such list.")
