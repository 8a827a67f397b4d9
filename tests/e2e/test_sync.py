"""Synchronisation over HTTP against a provider that misbehaves (a short form of `python -m bench.sync --chaos`)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness import HostProcess, call
from bench.sync import survive
from bench.sync_world import ApiProcess, SyncClient, serving, stored
from tests.worlds.hub_api import fresh_tenant

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(host: HostProcess) -> SyncClient:
    return SyncClient(host, fresh_tenant(host).token)


@pytest.fixture
def source() -> Iterator[ApiProcess]:
    with serving(1_200) as api:
        yield api


def test_every_record_arrives_once_in_its_latest_version_though_the_host_is_killed_twice(
    tmp_path: Path,
) -> None:
    outcome = survive(tmp_path / "hub", records=3_000, kills=2, workers=2, rng=random.Random(3), delay=0.01)
    assert outcome.kills == 2
    assert (outcome.missing, outcome.outdated, outcome.unknown) == (0, 0, 0)
    assert outcome.job["status"] == "Completed"
    assert outcome.adds_up
    assert outcome.refetched_batches <= 1.0, "more than the batch under way was lost at a kill"
    assert outcome.api["failed"] > 0
    assert outcome.api["changed"] >= 30


def test_a_differential_sync_writes_only_what_changed(
    host: HostProcess, client: SyncClient, source: ApiProcess
) -> None:
    integration = client.integration(source.url)
    assert client.ended(client.start(integration))["recordsWritten"] == 1_200
    source.configure(changes=3)
    differential = client.ended(client.start(integration, "Differential"))
    assert differential["recordsWritten"] == source.stats()["changed"] == 3
    assert stored(host.home, integration) == source.truth()


def test_a_second_full_sync_within_a_day_is_refused__BR_DS_01(client: SyncClient, source: ApiProcess) -> None:
    integration = client.integration(source.url)
    client.ended(client.start(integration))
    status, problem = client("POST", "/datasyncs", {"integrationId": integration, "syncType": "Full"})
    assert (status, problem["code"]) == (409, "BR-DS-01")


def test_a_cancelled_job_keeps_what_it_did_and_its_resumption_does_the_rest(
    host: HostProcess, client: SyncClient
) -> None:
    with serving(6_000, delay=0.02) as api:
        integration = client.integration(api.url)
        job_id = client.start(integration)
        client.progressed(job_id, 1_000)
        assert client("DELETE", f"/datasyncs/{job_id}")[0] == 204
        cancelled = client.job(job_id)
        assert cancelled["status"] == "Cancelled"
        assert cancelled["recordsProcessed"] >= 1_000
        assert "are kept" in cancelled["errorLog"]["message"]
        kept = stored(host.home, integration)
        assert len(kept) == cancelled["recordsWritten"] < 6_000
        served = api.stats()["served"]
        assert client("POST", f"/datasyncs/{job_id}/resume")[0] == 202
        ended = client.ended(job_id)
        assert ended["status"] == "Completed"
        assert stored(host.home, integration) == api.truth()
        # What was stored is not fetched again; the batch under way at the cancel (1,000 records) is.
        left = 6_000 - len(kept)
        assert api.stats()["served"] - served <= left + 1_000 + left // 100 + 100


def test_bad_records_are_listed_and_the_others_are_there(client: SyncClient, source: ApiProcess) -> None:
    integration = client.integration(source.url)
    one = "source.id == 'r0000050' && source.tags || source.name"
    mapping = {"streams": {"records": {"recordType": "Contact", "fields": {"firstName": one}}}}
    tried = {
        "mapping": {"streams": {"records": {"recordType": "Contact", "fields": {"firstName": "source.tags"}}}}
    }
    preview = client("POST", f"/integrations/{integration}/mapping/preview", tried)[1]
    assert preview["records"][0]["errors"][0]["pointer"] == "/firstName"
    assert client("PUT", f"/integrations/{integration}/mapping", mapping)[0] == 200
    job = client.ended(client.start(integration))
    assert (job["status"], job["recordsFailed"], job["recordsWritten"]) == ("PartialSuccess", 1, 1_199)
    logs = client("GET", f"/datasyncs/{job['dataSyncJobId']}/logs?kind=Record&pageSize=10")[1]
    assert [(error["recordId"], error["pointer"]) for error in logs["items"]] == [("r0000050", "/firstName")]
    assert "vip" not in str(logs)
    records = client("GET", f"/integrations/{integration}/records?type=Contact&limit=1000")[1]
    rest = client("GET", f"/integrations/{integration}/records?cursor={records['cursor']}&limit=1000")[1]
    assert (len(records["items"]), len(rest["items"]), rest["hasMore"]) == (1_000, 199, False)


def test_an_unknown_or_foreign_job_is_not_there(
    host: HostProcess, client: SyncClient, source: ApiProcess
) -> None:
    job_id = client.start(client.integration(source.url))
    stranger = fresh_tenant(host)
    assert stranger("GET", f"/datasyncs/{job_id}")[0] == 404
    assert stranger("DELETE", f"/datasyncs/{job_id}")[0] == 404
    assert stranger("GET", "/datasyncs")[1]["total"] == 0
    status, _ = call("GET", f"{host.url}/datasyncs/{job_id}")
    assert status == 401
