"""One trace from a request to the receiver, spans that say nothing secret, and no cost where nobody looks."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import pytest
from azure.functions._abc import TraceContext
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind as OtelKind
from opentelemetry.trace import StatusCode

from bench.harness import ROOT
from domain.core.json_text import JsonText
from domain.core.ports import OutboundError
from domain.core.tracing import UNTRACED, SpanKind, spans, trace_fields
from domain.journal.event_types import FROM_HUB
from domain.journal.events import DomainEvent, RaiseEvent
from functions.http.kit.tracing import parent_of
from infra.observability import logs
from infra.observability.trace import Trace, current, within
from infra.observability.tracer import OtelTracer
from tests.worlds.builders import START, TENANT, Reply, answer
from tests.worlds.http_app import TRACE, App, said, serving_app
from tests.worlds.traced import Traced, header_of, parent_id
from tests.worlds.webhook_world import WebhookWorld

PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED = f"{PARENT[:-2]}00"
SECRET_URL = "https://hooks.example/services/T0KEN?key=s3cret"


@pytest.fixture
def traced() -> Traced:
    return Traced()


@pytest.fixture
def app(tmp_path: Path, traced: Traced) -> Iterator[App]:
    with serving_app(tmp_path, tracer=traced.tracer) as made:
        yield made


def stored(app: App) -> list[str | None]:
    from infra.sql.journal.tables import domain_events

    with app.hub.database.read() as connection:
        rows = connection.execute(domain_events.select().order_by(domain_events.c.Sequence)).mappings()
        return [row["TraceParent"] for row in rows]


# -- HTTP ------------------------------------------------------------------------------------------------


def raise_event(app: App, **headers: str) -> func.HttpResponse:
    body = {"type": "BookingConfirmed", "data": {"card": "4111111111111111"}}
    response = app.call("raise_events", app.request("POST", "events?token=s3cret", body, **headers))
    assert response.status_code == 202, said(response)
    return response


def test_an_event_belongs_to_the_span_that_sent_it_and_that_to_the_request(app: App, traced: Traced) -> None:
    response = raise_event(app, traceparent=PARENT)
    [sent], [served] = traced.named("send domain-events"), traced.named("POST /api/events")
    assert stored(app) == [header_of(sent)]
    assert (sent.kind, parent_id(sent)) == (OtelKind.PRODUCER, header_of(served).split("-")[2])
    assert (served.kind, parent_id(served)) == (OtelKind.SERVER, PARENT.split("-")[2])
    assert response.headers["traceparent"] == header_of(served)
    assert header_of(served).split("-")[1] == TRACE
    assert dict(served.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/api/events",
        "http.response.status_code": 202,
    }
    assert dict(sent.attributes or {}) == {
        "messaging.system": "servicebus",
        "messaging.destination.name": "domain-events",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": 1,
    }


def test_a_caller_who_does_not_sample_is_followed(app: App, traced: Traced) -> None:
    raise_event(app, traceparent=UNSAMPLED)
    assert traced.spans == []
    [kept] = stored(app)
    assert kept is not None and kept.startswith(f"00-{TRACE}-") and kept.endswith("-00")


@pytest.mark.parametrize(
    ("sampler", "recorded"), [(None, 0), (ParentBased(ALWAYS_OFF), 0), (ALWAYS_ON, 2), (ALWAYS_OFF, 0)]
)
def test_the_sampler_has_the_last_word(sampler: Sampler | None, recorded: int) -> None:
    """One that does not follow the caller is asked, although an unsampled caller is mostly followed without asking."""
    traced = Traced(sampler)
    with traced.tracer.span("outer", SpanKind.Server, parent=UNSAMPLED) as outer:
        assert logs.trace_id.get() == TRACE
        with traced.tracer.span("inner", SpanKind.Client, parent=outer.traceparent) as inner:
            inner.set("a", 1)
            inner.fail("timeout")
    assert len(traced.spans) == recorded
    assert inner.traceparent is not None and outer.traceparent is not None
    assert inner.traceparent.endswith("-01" if recorded else "-00")
    assert len({UNSAMPLED[3:], outer.traceparent[3:], inner.traceparent[3:]}) == 3
    assert logs.trace_id.get() is None


def test_an_exception_fails_its_span_and_is_not_quoted(traced: Traced) -> None:
    with pytest.raises(ValueError), traced.tracer.span("step", SpanKind.Internal):
        raise ValueError("s3cret")
    [span] = traced.spans
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert span.status.status_code == StatusCode.ERROR
    assert "s3cret" not in span.to_json()


def test_without_a_tracer_the_trace_goes_on_all_the_same(tmp_path: Path) -> None:
    with serving_app(tmp_path) as app:
        assert app.hub.tracer is UNTRACED
        raise_event(app, traceparent=PARENT)
        [kept] = stored(app)
    assert kept is not None and kept.startswith(f"00-{TRACE}-")
    assert kept != PARENT


def test_events_that_a_request_causes_belong_to_it(app: App, traced: Traced) -> None:
    """Not only those that it brings."""
    event = DomainEvent("e-1", TENANT, "IntegrationCreated", "{}", app.clock.now(), origin=FROM_HUB)
    with traced.tracer.span("request", SpanKind.Server) as span, app.hub.transactions.write() as tx:
        tx.outbox.append([event])
        tx.commit()
    assert stored(app) == [span.traceparent]
    assert current.get() is None


def test_our_own_faults_fail_the_span_and_a_callers_do_not(app: App, traced: Traced) -> None:
    def broken(call: object) -> None:
        raise RuntimeError("password=hunter2")

    app.serve(broken, permission="webhook:manage")(app.request("POST", "things", {}))
    app.serve(broken, permission="audit:read")(app.request("POST", "things", {}))
    failed, refused = traced.named("POST /api/things")
    assert (failed.status.status_code, (failed.attributes or {})["error.type"]) == (StatusCode.ERROR, "500")
    assert refused.status.status_code == StatusCode.UNSET
    assert (refused.attributes or {})["http.response.status_code"] == 403
    assert not failed.events, "the exception's text may hold what must not leave"


class HostContext(TraceContext):
    """What the Functions host shows of its span."""

    def __init__(self, parent: str) -> None:
        self._parent = parent

    @property
    def trace_parent(self) -> str:
        return self._parent

    @property
    def trace_state(self) -> str:
        return ""

    @property
    def attributes(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize(
    ("theirs", "hosts", "expected"),
    [
        (None, None, (None, False)),
        (PARENT, None, (PARENT, False)),
        (PARENT, "", (PARENT, False)),
        (PARENT, PARENT, (PARENT, False)),
        (None, UNSAMPLED, (UNSAMPLED, True)),
        (PARENT, UNSAMPLED, (UNSAMPLED, True)),
    ],
)
def test_the_hosts_span_goes_before_the_callers(
    theirs: str | None, hosts: str | None, expected: tuple[str | None, bool]
) -> None:
    headers = {"traceparent": theirs} if theirs else {}
    request = func.HttpRequest("GET", "http://localhost/", headers=headers, body=b"")
    context = None
    if hosts is not None:
        context = type("Context", (), {"trace_context": HostContext(hosts)})()
    assert parent_of(request, context) == expected  # type: ignore[arg-type]


def test_under_the_hosts_span_ours_is_not_a_second_request(app: App, traced: Traced) -> None:
    """Application Insights lists every span of kind server as a request."""
    from functions.http.kit.tracing import request_span

    with request_span(traced.tracer, "GET", "webhooks", parent=PARENT, is_hosted=True):
        pass
    assert traced.spans[0].kind == OtelKind.INTERNAL


# -- the pipeline ----------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path, traced: Traced) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path, tracer=traced.tracer)
    yield made
    made.close()


def other(parent: str, digit: str) -> str:
    """The same in a trace of its own."""
    return parent.replace(TRACE, digit * 32)


def accept(world: WebhookWorld, *parents: str | None) -> None:
    for parent in parents:
        event = RaiseEvent(type="BookingConfirmed", data=JsonText('{"card":"4111111111111111"}'))
        world.events.accept(world.principal, [event], parent)


async def test_fan_out_attempt_and_post_go_on_from_the_event(world: WebhookWorld, traced: Traced) -> None:
    await world.webhook(url=SECRET_URL)
    accept(world, PARENT)
    await world.settle()
    [fanned], [attempt] = traced.named("process domain-events"), traced.named("process webhook-deliveries")
    [post] = traced.named("POST")
    assert [span.kind for span in (fanned, attempt, post)] == [
        OtelKind.CONSUMER,
        OtelKind.CONSUMER,
        OtelKind.CLIENT,
    ]
    assert {header_of(span).split("-")[1] for span in traced.spans} == {TRACE}
    assert parent_id(fanned) == parent_id(attempt) == PARENT.split("-")[2]
    assert parent_id(post) == header_of(attempt).split("-")[2]
    [received] = world.receivers.posts_to(SECRET_URL)
    assert received.headers["traceparent"] == header_of(post)
    assert dict(post.attributes or {}) == {
        "hub.webhook.id": (attempt.attributes or {})["hub.webhook.id"],
        "http.request.method": "POST",
        "url.scheme": "https",
        "server.address": "hooks.example",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert (attempt.attributes or {})["hub.webhook.delivery.status"] == "Delivered"


async def test_spans_hold_no_payload_and_no_address_that_may_be_a_secret(
    world: WebhookWorld, traced: Traced
) -> None:
    await world.webhook(url=SECRET_URL)
    world.receivers.script(OutboundError("tls", "s3cret certificate"), url=SECRET_URL)
    accept(world, PARENT)
    await world.run_until(START + timedelta(minutes=5))
    everything = "".join(span.to_json() for span in traced.spans)
    assert "hooks.example" in everything
    for secret in ("T0KEN", "s3cret", "4111", "whsec_"):
        assert secret not in everything


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [(answer(503), "503", 503), (OutboundError("timeout", "none in 30 s"), "timeout", None)],
)
async def test_each_attempt_has_spans_of_its_own_and_says_why_it_failed(
    world: WebhookWorld, traced: Traced, reply: Reply, kind: str, status: int | None
) -> None:
    await world.webhook()
    world.receivers.script(reply)
    accept(world, PARENT)
    await world.run_until(START + timedelta(minutes=5))
    first, second = traced.named("POST")
    assert first.status.status_code == StatusCode.ERROR
    assert (first.attributes or {})["error.type"] == kind
    assert (first.attributes or {}).get("http.response.status_code") == status
    assert second.status.status_code == StatusCode.UNSET
    failed, done = traced.named("process webhook-deliveries")
    assert (failed.attributes or {})["error.type"] == "Retrying"
    assert [(span.attributes or {})["hub.webhook.attempt"] for span in (failed, done)] == [1, 2]
    sent = [post.headers["traceparent"] for post in world.receivers.posts_to()]
    assert sent == [header_of(first), header_of(second)]


async def test_a_batch_serves_several_traces_each_with_its_own_spans(
    world: WebhookWorld, traced: Traced
) -> None:
    await world.webhook()
    parents = [PARENT, other(PARENT, "a"), other(UNSAMPLED, "b")]
    accept(world, *parents, None)
    await world.settle()
    fanned = traced.named("process domain-events")
    assert sorted(header_of(span).split("-")[1] for span in fanned) == sorted([TRACE, "a" * 32])
    sent = {post.headers["traceparent"].split("-")[1]: post for post in world.receivers.posts_to()}
    assert set(sent) > {TRACE, "a" * 32, "b" * 32}
    assert len(sent) == 4, "an event of no trace begins one when it is delivered"
    assert sent["b" * 32].headers["traceparent"].endswith("-00")
    assert not [span for span in traced.spans if "b" * 32 in header_of(span)]


def test_lines_of_a_batch_are_not_put_under_one_of_its_traces(traced: Traced) -> None:
    seen = []
    for parents in ([PARENT], [PARENT, PARENT], [PARENT, other(PARENT, "a")]):
        with spans(traced.tracer, "process", SpanKind.Consumer, parents=parents, attributes=dict):
            seen.append(logs.trace_id.get())
    assert seen == [TRACE, TRACE, None]


async def test_an_attempts_line_names_the_span_that_the_receiver_saw(
    world: WebhookWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await world.webhook()
    accept(world, PARENT, other(PARENT, "a"))
    with caplog.at_level("INFO", "hub.webhooks"):
        await world.settle()
    lines = [record for record in caplog.records if record.getMessage() == "webhook delivery attempted"]
    told = {(vars(line)["traceId"], vars(line)["spanId"]) for line in lines}
    sent = (post.headers["traceparent"].split("-") for post in world.receivers.posts_to())
    assert told == {(trace, span) for _, trace, span, _ in sent}


async def test_untraced_receivers_are_sent_the_events_own_span(world: WebhookWorld) -> None:
    world.engine._tracer = UNTRACED
    await world.webhook()
    accept(world, PARENT, None)
    await world.settle()
    sent = [post.headers.get("traceparent") for post in world.receivers.posts_to()]
    assert sorted(sent, key=str) == [PARENT, None]


async def test_the_event_about_an_attempt_belongs_to_its_trace(world: WebhookWorld, traced: Traced) -> None:
    await world.webhook("BookingConfirmed")
    await world.webhook("WebhookSent", url="https://other.example/")
    accept(world, PARENT)
    await world.settle()
    [first], [about] = world.receivers.posts_to(), world.receivers.posts_to("https://other.example/")
    assert about.headers["traceparent"].split("-")[1] == TRACE
    assert len(traced.named("POST")) == 2
    assert first.headers["traceparent"] != about.headers["traceparent"]


# -- export ----------------------------------------------------------------------------------------------


def test_a_collector_that_hangs_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.observability import exporters

    is_shut = threading.Event()

    class Hanging(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            is_shut.wait(10)
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            is_shut.set()

    monkeypatch.setattr(exporters, "STOP_MILLISECONDS", 50)
    provider = TracerProvider()
    provider.add_span_processor(exporters.Batches(Hanging()))
    with OtelTracer(provider).span("waiting", SpanKind.Internal):
        pass
    begun = time.monotonic()
    provider.shutdown()
    assert time.monotonic() - begun < 2
    assert is_shut.is_set()


# -- logs ------------------------------------------------------------------------------------------------


def test_lines_inside_a_span_name_it(traced: Traced) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("test", "INFO")
    logger.addHandler(handler)
    with traced.tracer.span("outer", SpanKind.Server) as outer:
        with traced.tracer.span("inner", SpanKind.Internal, parent=outer.traceparent) as inner:
            logger.info("inside")
        logger.info("outside")
    with within(Trace.continued(PARENT)):
        logger.info("untraced")
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    for line, span in ((first, inner), (second, outer)):
        assert {"traceId": line["traceId"], "spanId": line["spanId"]} == trace_fields(span.traceparent)
    assert third["traceId"] == TRACE
    assert len(third["spanId"]) == 16


# -- cost ------------------------------------------------------------------------------------------------

_DELIVERED = """
import sys
from pathlib import Path
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.fan_out import FanOut
from infra.app.build import build
from infra.app.settings import Settings
hub = build(Settings(home=Path(sys.argv[1])))
hub.use(DeliveryEngine), hub.use(FanOut), hub.tracer
import function_app
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_without_an_exporter_nothing_of_opentelemetry_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DELIVERED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = [
        name for name in json.loads(done.stdout.replace("'", '"')) if ".sdk" in name or "exporter" in name
    ]
    assert loaded == []


def test_attributes_are_made_up_only_for_spans_that_are_kept(traced: Traced) -> None:
    asked: list[str] = []

    def attributes() -> dict[str, str]:
        asked.append("once")
        return {"a": "b"}

    for tracer, parent in ((UNTRACED, PARENT), (traced.tracer, UNSAMPLED)):
        with tracer.span("not kept", SpanKind.Internal, parent=parent, attributes=attributes):
            assert asked == []
    with traced.tracer.span("kept", SpanKind.Internal, parent=PARENT, attributes=attributes):
        assert asked == ["once"]
    assert dict(traced.spans[0].attributes or {}) == {"a": "b"}
