"""One trace from a request to the receiver, as a collector sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.harness import HostProcess, running
from bench.sync_world import SyncClient, serving
from tests.loopback.otlp import CollectedSpan, Collector
from tests.worlds.hub_api import Receiver, fresh_tenant

pytestmark = pytest.mark.e2e

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.close()


@pytest.fixture(scope="module")
def traced_host(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    key = "00000000-0000-0000-0000-000000000001"
    with running(
        tmp_path_factory.mktemp("traced") / "hub",
        HUB_LOG_LEVEL="INFO",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
        APPLICATIONINSIGHTS_CONNECTION_STRING=f"InstrumentationKey={key};IngestionEndpoint={collector.url}/",
        # What the exporter tells Microsoft of itself.
        APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL="true",
        APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED="true",
    ) as host:
        yield host


@pytest.fixture
def story(
    traced_host: HostProcess, collector: Collector, receiver: Receiver
) -> tuple[dict[str, CollectedSpan], str]:
    """The spans of one event by name, and the `traceparent` that the receiver was sent."""
    api = fresh_tenant(traced_host)
    api.webhook(receiver.url + "?token=s3cret")
    body = {"type": "BookingConfirmed", "data": {"n": 1}}
    status, answer = api("POST", "/events", body, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert status == 202, answer
    [request] = receiver.wait(1)
    return collector.of_trace(TRACE, 5), request["headers"]["traceparent"]


def test_request_outbox_queues_delivery_and_receiver_are_one_trace(
    story: tuple[dict[str, CollectedSpan], str], collector: Collector, traced_host: HostProcess
) -> None:
    found, received = story
    request, sent = found["POST /api/events"], found["send domain-events"]
    fanned, attempt, post = (
        found[name] for name in ("process domain-events", "process webhook-deliveries", "POST")
    )
    assert request.parent_id == CALLER
    assert sent.parent_id == request.span_id
    assert fanned.parent_id == attempt.parent_id == sent.span_id
    assert post.parent_id == attempt.span_id
    assert received == f"00-{TRACE}-{post.span_id}-01"
    assert [span.kind for span in (request, sent, fanned, attempt, post)] == [
        *(SERVER, PRODUCER, CONSUMER, CONSUMER, CLIENT)
    ]
    assert request.resource["service.name"] == "integration-hub"
    assert post.attributes["server.address"] == "127.0.0.1"
    assert "s3cret" not in str(collector.spans)
    _told_to_application_insights(collector, request, post)
    _lines_name_the_spans(traced_host, post)


def _told_to_application_insights(
    collector: Collector, request: CollectedSpan, post: CollectedSpan, seconds: float = 20.0
) -> None:
    """The same spans by the other exporter: requests and dependencies of one operation, and no log lines."""
    deadline = time.monotonic() + seconds

    def by_id() -> dict[str, dict[str, object]]:
        ours = [
            envelope for envelope in collector.envelopes if envelope["tags"].get("ai.operation.id") == TRACE
        ]
        return {our["data"]["baseData"]["id"]: our for our in ours}

    while not {request.span_id, post.span_id} <= by_id().keys():
        assert time.monotonic() < deadline, collector.envelopes
        time.sleep(0.05)
    kinds = {span: envelope["data"]["baseType"] for span, envelope in by_id().items()}  # type: ignore[index]
    assert kinds[request.span_id] == "RequestData"
    assert kinds[post.span_id] == "RemoteDependencyData"
    assert {envelope["data"]["baseType"] for envelope in collector.envelopes} <= {
        "RequestData",
        "RemoteDependencyData",
    }


def _lines_name_the_spans(host: HostProcess, post: CollectedSpan) -> None:
    deadline = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in Path(host.log).read_text().splitlines() if line.startswith("{")]
        told = [line for line in lines if line["message"] == "webhook delivery attempted"]
        if told or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert [(line["traceId"], line["spanId"]) for line in told] == [(TRACE, post.span_id)]


def test_a_sync_job_is_one_trace_from_its_request_over_its_batches_to_the_provider_and_its_end(
    traced_host: HostProcess, collector: Collector
) -> None:
    trace = "c" * 32
    api = fresh_tenant(traced_host)
    sync = SyncClient(traced_host, api.token)
    with serving(150) as source:
        integration = sync.integration(source.url)
        body = {"integrationId": integration, "syncType": "Full"}
        status, job = api("POST", "/datasyncs", body, traceparent=f"00-{trace}-{CALLER}-01")
        assert status == 201, job
        found = collector.of_trace_with(trace, "conclude_sync")
    request = found["POST /api/datasyncs"][0]
    work = [
        span
        for name in ("process sync-jobs", "plan_sync", "sync_batch", "conclude_sync")
        for span in found[name]
    ]
    assert {span.parent_id for span in work} == {request.span_id}
    assert {span.kind for span in found["process sync-jobs"]} == {CONSUMER}
    pages, batches = found["GET"], found["sync_batch"]
    assert len(pages) >= 2, "100 records a page"
    assert {page.kind for page in pages} == {CLIENT}
    assert {page.parent_id for page in pages} <= {batch.span_id for batch in batches}
    assert {batch.attributes["hub.sync.job.id"] for batch in batches} == {job["dataSyncJobId"]}
    assert pages[0].attributes["server.address"] == "127.0.0.1"


def test_spans_still_waiting_are_sent_when_the_host_stops(
    collector: Collector, receiver: Receiver, tmp_path: Path
) -> None:
    trace = "a" * 32
    with running(
        tmp_path / "hub", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="600000"
    ) as host:
        api = fresh_tenant(host)
        api("GET", "/webhooks", traceparent=f"00-{trace}-{CALLER}-01")
    assert set(collector.of_trace(trace, 1)) == {"GET /api/webhooks"}


def test_a_collector_that_is_away_costs_nothing_but_the_spans(receiver: Receiver, tmp_path: Path) -> None:
    with (
        running(
            tmp_path / "hub",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",  # of the tries of one batch together; the stop waits for the last of them
            OTEL_BSP_SCHEDULE_DELAY="50",
        ) as host
    ):
        api = fresh_tenant(host)
        api.webhook(receiver.url)
        for _ in range(5):
            api.raise_event()
        receiver.wait(5)
