"""Sync jobs, health checks, OAuth tokens and every call to a provider, as spans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import SpanKind as OtelKind
from opentelemetry.trace import StatusCode

from domain.core.ports import OutboundError, OutboundResponse
from domain.core.tracing import UNTRACED, SpanKind
from domain.providers.contract import ProviderFailure, ProviderRequest
from domain.sync.dispatch import Dispatcher
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from infra.app.build import build
from infra.app.settings import Settings
from infra.observability.trace import Trace, current_header, within
from infra.outbound.request import OutboundRequest
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.connection import HttpProviderConnection
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.builders import START, answer
from tests.worlds.integration_world import IntegrationWorld
from tests.worlds.oauth_world import OAuthWorld
from tests.worlds.sync_world import SyncWorld
from tests.worlds.traced import Traced, header_of, parent_id, said_by, span_id, trace_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
SECRET_URL = "https://api.example/v1/T0KEN/contacts?key=s3cret"


@pytest.fixture
def traced() -> Traced:
    return Traced()


# -- calls to providers ------------------------------------------------------------------------------------


class Outside:
    """Gives the answers in turn."""

    def __init__(self, *answers: OutboundResponse | OutboundError) -> None:
        self._answers = list(answers)
        self.requests: list[OutboundRequest] = []

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        self.requests.append(request)
        came = self._answers.pop(0)
        if isinstance(came, OutboundError):
            raise came
        return came

    async def close(self) -> None: ...


def traced_transport(traced: Traced, outside: Outside) -> OutboundTransport:
    return OutboundTransport(outside, traced.tracer)


async def test_a_call_to_a_provider_is_a_client_span_that_names_the_server_alone(traced: Traced) -> None:
    outside = Outside(answer(200))
    request = httpx.Request("GET", SECRET_URL, headers={"authorization": "Bearer s3cret"})
    with traced.tracer.span("request", SpanKind.Server) as around:
        assert (await traced_transport(traced, outside).handle_async_request(request)).status_code == 200
    [call] = traced.named("GET")
    assert call.kind == OtelKind.CLIENT
    assert header_of(call).split("-")[1] == (around.traceparent or "").split("-")[1]
    assert parent_id(call) == (around.traceparent or "").split("-")[2]
    assert said_by(call) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "server.address": "api.example",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert "s3cret" not in call.to_json()
    assert "T0KEN" not in call.to_json()
    [sent] = outside.requests
    assert (sent.method, sent.url, sent.body) == ("GET", SECRET_URL, b"")
    assert sent.headers == dict(request.headers), "providers are not sent the trace"


async def test_each_try_of_a_call_has_a_span_and_says_why_it_failed(traced: Traced) -> None:
    async def at_once(seconds: float) -> None: ...

    outside = Outside(OutboundError("timeout", "s3cret took too long"), answer(503), answer(200))
    connection = HttpProviderConnection(traced_transport(traced, outside), sleep=at_once)
    with traced.tracer.span("request", SpanKind.Server):
        await connection.expect(ProviderRequest("GET", SECRET_URL))
    calls = traced.named("GET")
    assert [said_by(call).get("error.type") for call in calls] == ["timeout", "503", None]
    assert [call.status.status_code for call in calls] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]
    assert len({parent_id(call) for call in calls}) == 1
    assert "s3cret" not in "".join(call.to_json() for call in calls)


@pytest.mark.parametrize(
    ("method", "url", "name", "said"),
    [
        (
            "PROPFIND",
            "http://dav.example:8008/",
            "HTTP",
            {
                "http.request.method": "_OTHER",
                "http.request.method_original": "PROPFIND",
                "url.scheme": "http",
                "server.address": "dav.example",
                "server.port": 8008,
            },
        ),
        ("GET", "https://[", "GET", {"http.request.method": "GET"}),
        ("GET", "https://a.example:99999/", "GET", {"http.request.method": "GET"}),
    ],
)
async def test_what_is_no_common_method_or_no_address_at_all_has_a_span_as_well(
    *, traced: Traced, method: str, url: str, name: str, said: dict[str, Any]
) -> None:
    failure = OutboundError("blocked", "no")
    with pytest.raises(OutboundError):
        request = httpx.Request(method, "https://a.example/", extensions={"raw_url": url})
        await traced_transport(traced, Outside(failure)).handle_async_request(request)
    [call] = traced.named(name)
    assert said_by(call) == {**said, "error.type": "blocked"}


def test_without_an_exporter_calls_to_providers_pass_nothing_by(tmp_path: Path) -> None:
    hub = build(Settings(home=tmp_path))
    assert hub.tracer is UNTRACED
    assert isinstance(hub.provider_transport, OutboundTransport)
    assert hub.provider_transport._tracer is UNTRACED


# -- sync jobs ---------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, traced: Traced) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path, tracer=traced.tracer)
    for index in range(7):
        made.crm.put(f"c{index}", START - timedelta(days=1))
    yield made
    made.close()


def job_spans(traced: Traced) -> Sequence[str]:
    return [span.name for span in traced.spans if span.name.endswith(("_sync", "_batch"))]


async def test_a_job_is_one_trace_from_the_request_to_its_end(world: SyncWorld, traced: Traced) -> None:
    integration = await world.integration()
    calls: list[str | None] = []
    world.crm.before_page = lambda: calls.append(current_header())
    with traced.tracer.span("request", SpanKind.Server, parent=PARENT) as request:
        job = world.start(integration)
    await world.run(job)
    assert job_spans(traced) == ["plan_sync", "sync_batch", "sync_batch", "conclude_sync"]
    activities = [span for span in traced.spans if span.name != "request"]
    assert {trace_of(span) for span in activities} == {TRACE}
    assert {parent_id(span) for span in activities} == {(request.traceparent or "").split("-")[2]}
    batches = traced.named("sync_batch")
    assert set(calls) == {header_of(batch) for batch in batches}, (
        "what a batch asks of the provider belongs to it"
    )
    assert said_by(batches[0]) == {
        "hub.sync.job.id": str(job.data_sync_job_id),
        "hub.sync.run": 1,
        "hub.integration.id": str(integration),
        "hub.sync.stream": "contacts",
        "hub.sync.direction": "Import",
        "hub.sync.state": "more",
        "hub.sync.records": 6,
    }
    [end] = traced.named("conclude_sync")
    assert (said_by(end)["hub.sync.status"], said_by(end)["hub.sync.records"]) == ("Completed", 7)
    [told] = world.rows("SELECT TraceParent FROM DomainEvents WHERE EventType = 'DataSyncCompleted'")
    assert told[0] == header_of(end)


async def test_a_run_after_a_crash_goes_on_in_the_jobs_trace(world: SyncWorld, traced: Traced) -> None:
    integration = await world.integration()
    with traced.tracer.span("request", SpanKind.Server, parent=PARENT):
        job = world.start(integration)
    await world.run(job, batches=1)
    world.clock.advance(minutes=5)
    [silent] = world.hub.use(Dispatcher).silent()
    start = world.hub.use(Dispatcher).revive(silent)
    assert start is not None and start.traceparent == silent.traceparent
    assert start.to_wire() == {"jobId": str(job.data_sync_job_id), "run": 2}
    await world.run(job)
    assert {said_by(span)["hub.sync.run"] for span in traced.named("sync_batch")} == {1, 2}
    assert {trace_of(span) for span in traced.named("sync_batch")} == {TRACE}


async def test_a_batch_that_fails_says_why_and_one_that_waits_did_not_fail(
    world: SyncWorld, traced: Traced
) -> None:
    integration = await world.integration()
    world.crm.failures = [
        ProviderFailure("rate_limited", "s3cret", retry_after_seconds=5),
        ProviderFailure("unavailable", "s3cret"),
        ProviderFailure("forbidden", "s3cret"),
    ]
    ended = await world.synced(integration)
    assert ended.status.name == "Failed"
    batches = traced.named("sync_batch")
    assert [said_by(batch)["hub.sync.state"] for batch in batches] == ["wait", "retry", "failed"]
    assert [said_by(batch).get("error.type") for batch in batches] == [None, "unavailable", "forbidden"]
    [end] = traced.named("conclude_sync")
    assert said_by(end)["error.type"] == "forbidden"
    assert "s3cret" not in "".join(span.to_json() for span in traced.spans)


async def test_a_schedules_job_begins_a_trace_of_its_own(world: SyncWorld, traced: Traced) -> None:
    integration = await world.integration()
    command = PutSchedule(interval_minutes=60)
    world.hub.use(ScheduleService).put(world.principal, integration, command, None)
    for _ in range(2):
        world.clock.advance(hours=1)
        world.hub.use(ScheduleService).create_due_jobs()
        with world.transactions.read() as tx:
            [waiting] = tx.sync_jobs.waiting(world.clock.now(), 10)
            job = tx.sync_jobs.find(waiting.data_sync_job_id)
        assert job is not None
        await world.run(job)
    first, second = traced.named("schedule_sync")
    assert trace_of(first) != trace_of(second)
    for made in (first, second):
        inside = [span for span in traced.spans if trace_of(span) == trace_of(made) and span is not made]
        assert {span.name for span in inside} == {"plan_sync", "sync_batch", "conclude_sync"}
        assert {parent_id(span) for span in inside} == {span_id(made)}


async def test_untraced_a_job_keeps_its_trace_and_its_lines_name_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = SyncWorld(tmp_path)
    integration = await world.integration()
    with within(Trace.continued(PARENT)):
        job = world.start(integration)
    with caplog.at_level("INFO", "hub.sync"):
        await world.run(job)
    lines = [
        record for record in caplog.records if record.getMessage() in ("sync job started", "sync job ended")
    ]
    assert [vars(line)["traceId"] for line in lines] == [TRACE, TRACE]
    world.close()


# -- what timers do ----------------------------------------------------------------------------------------


async def test_each_health_check_is_a_trace_that_says_what_it_found(tmp_path: Path, traced: Traced) -> None:
    world = IntegrationWorld(tmp_path, tracer=traced.tracer)
    first, second = await world.create("REST", name="One"), await world.create("REST", name="Two")
    world.api.failure = ProviderFailure("unavailable", "s3cret")
    await world.check()
    checks = traced.named("check_integration")
    assert {said_by(check)["hub.integration.id"] for check in checks} == {
        str(created.integration.integration_id) for created in (first, second)
    }
    assert len({trace_of(check) for check in checks}) == 2
    assert {said_by(check)["error.type"] for check in checks} == {"unavailable"}
    assert "s3cret" not in "".join(span.to_json() for span in traced.spans)
    world.close()


def test_a_token_that_is_refreshed_ahead_is_a_call_inside_its_span(tmp_path: Path, traced: Traced) -> None:
    server = OAuthServer()
    world = OAuthWorld(tmp_path, server, tracer=traced.tracer)
    integration = world.connected()
    exchanged = len(traced.named("POST"))
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"refreshed": 1}
    [refresh], [call] = traced.named("refresh_oauth_token"), traced.named("POST")[exchanged:]
    assert said_by(refresh) == {"hub.integration.id": str(integration.integration_id)}
    assert parent_id(call) == span_id(refresh)
    assert said_by(call)["http.response.status_code"] == 200
    everything = "".join(span.to_json() for span in traced.spans)
    assert not [secret for secret in server.issued if secret in everything]
    world.close()
    server.close()
