"""`GET /api/ops/metrics`: what Prometheus is told, and whom it is told to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import azure.functions as func
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.monitoring.metrics import (
    KEPT,
    Measures,
    MetricsService,
)
from functions.http.metrics.views import exposition
from infra.app.settings import Settings
from tests.worlds.builders import TENANT
from tests.worlds.http_app import App, run, said, serving_app
from tests.worlds.measures import MEASURES, SINCE

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str, parse: object = parsed) -> Samples:
    assert callable(parse)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@pytest.mark.parametrize(
    ("accept", "parse"), [("", parsed), ("application/openmetrics-text; version=1.0.0", openmetrics)]
)
def test_everything_measured_is_told_in_either_format(accept: str, parse: object) -> None:
    body, content_type = exposition(MEASURES, accept)
    found = samples(body.decode(), parse)
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
    assert value(found, "hub_webhook_attempts_total", outcome="delivered") == 8
    assert value(found, "hub_webhook_attempts_total", outcome="failed") == 2
    assert value(found, "hub_webhook_deliveries_lost_total") == 1
    assert value(found, "hub_webhook_errors_total", **{"class": "5xx"}) == 1
    assert value(found, "hub_health_checks_total", outcome="failed") == 1
    assert value(found, "hub_health_check_errors_total", kind="unauthorized") == 1
    assert value(found, "hub_sync_jobs_total", type="full", outcome="completed") == 3
    assert value(found, "hub_sync_jobs_total", type="incremental", outcome="completed") == 0
    assert value(found, "hub_sync_records_total", type="full") == 900
    assert value(found, "hub_sync_errors_total", type="full", cause="timeout") == 1
    assert value(found, "hub_sync_jobs_unended", status="Running") == 1
    assert value(found, "hub_integrations", provider="Stripe", status="Active", health="Unhealthy") == 1
    assert value(found, "hub_webhooks", state="Active") == 5
    assert value(found, "hub_webhook_deliveries_unended", status="Retrying") == 2
    assert value(found, "hub_alerts_active", severity="Critical") == 1
    assert value(found, "hub_api_keys") == 4
    assert value(found, "hub_api_key_requests_total", outcome="limited") == 7
    assert value(found, "hub_outbox_events") == 6
    assert value(found, "hub_outbox_wait_seconds") == 60
    assert value(found, "hub_queue_messages", queue="domain-events", state="dead") == 1
    assert value(found, "hub_queue_up") == 1


def test_histograms_add_up_and_place_each_duration() -> None:
    found = samples(exposition(MEASURES, "")[0].decode())
    name = "hub_webhook_attempt_duration_seconds"
    buckets = {
        float(dict(labels)["le"]): count
        for (metric, labels), count in found.items()
        if metric == f"{name}_bucket"
    }
    ordered = [count for _, count in sorted(buckets.items())]
    assert ordered == sorted(ordered)
    assert ordered[-1] == value(found, f"{name}_count") == 10
    assert next(count for le, count in sorted(buckets.items()) if le >= 0.01) == 8
    assert next(count for le, count in sorted(buckets.items()) if le >= 0.25) == 9
    exact = (8 * 5 + 200 + 30_000) / 1000
    assert value(found, f"{name}_sum") == pytest.approx(exact, rel=0.08)
    assert value(found, "hub_sync_duration_seconds_count", type="full") == 4
    assert value(found, "hub_sync_duration_seconds_count", type="differential") == 0


def test_no_label_names_a_tenant_or_a_thing_of_one() -> None:
    names = {name for _, labels in samples(exposition(MEASURES, "")[0].decode()) for name, _ in labels}
    assert names == {
        *("outcome", "class", "kind", "type", "cause", "provider", "status", "health", "state", "severity"),
        *("queue", "le"),
    }


def test_counters_say_when_they_began() -> None:
    found = samples(exposition(MEASURES, "")[0].decode())
    assert value(found, "hub_webhook_attempts_created", outcome="failed") == SINCE.timestamp()
    assert not any(name == "hub_api_key_requests_created" for name, _ in found)


def test_a_queue_that_is_away_is_told_and_hides_nothing_else() -> None:
    away = Measures(MEASURES.taken_at, MEASURES.stored, None)
    found = samples(exposition(away, "")[0].decode())
    assert value(found, "hub_queue_up") == 0
    assert not any(name == "hub_queue_messages" for name, _ in found)
    assert value(found, "hub_outbox_events") == 6


# -- the service -----------------------------------------------------------------------------------------


class Away:
    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        raise Unavailable("The queue is away.")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with serving_app(tmp_path, queue=None) as made:
        yield made


def attempted(app: App) -> None:
    tally = Tally(1, 1, 0, 0, 0, {}, Sketch.of([9]))
    signal = Signal(TENANT, SubjectKind.Webhook, app.hub.ids.new(), hour_of(app.clock.now()), tally)
    with app.hub.transactions.write() as tx:
        tx.signals.append([signal])
        tx.commit()


def test_readings_are_shared_for_some_seconds_and_begin_anew_at_midnight(app: App) -> None:
    service = MetricsService(app.hub.transactions, Away(), app.clock)

    def read() -> int:
        return service.read().stored.signals.get(SubjectKind.Tenant, Tally()).total

    attempted(app)
    assert (read(), service.read().queues) == (1, None)
    attempted(app)
    assert read() == 1
    app.clock.advance(seconds=KEPT.total_seconds())
    assert read() == 2
    app.clock.advance(days=1)
    assert read() == 0


# -- over HTTP -------------------------------------------------------------------------------------------


def ask(app: App, **headers: str) -> func.HttpResponse:
    from functions.http.metrics import routes

    scraper = func.FunctionApp()
    scraper.register_functions(routes.bp)
    [function] = scraper.get_functions()
    request = func.HttpRequest("GET", "http://localhost/api/ops/metrics", headers=headers, body=b"")
    return run(function.get_user_function(), request)


def test_in_development_nobody_need_say_who_they_are(app: App) -> None:
    attempted(app)
    app.hub.queue.send("domain-events", [QueueMessage("{}")] * 2)
    response = ask(app)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    found = samples(response.get_body().decode())
    assert value(found, "hub_webhook_attempts_total", outcome="delivered") == 1
    assert value(found, "hub_queue_messages", queue="domain-events", state="active") == 2


def test_in_production_the_permission_is_needed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, environment="production", auth_issuer="https://issuer.example")
    with serving_app(tmp_path, settings=settings) as app:
        refused = ask(app)
    assert (refused.status_code, said(refused)["title"]) == (401, "Unauthorized")


def test_whoever_shows_credentials_is_held_to_them(app: App) -> None:
    assert ask(app, authorization="Bearer nonsense").status_code == 401
    assert ask(app, authorization=f"Bearer {app.token('alerts:platform')}").status_code == 403
    assert ask(app, authorization=f"Bearer {app.token('metrics:read')}").status_code == 200
