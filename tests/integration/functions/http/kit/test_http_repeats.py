"""Versions and repeats over HTTP: ETag, If-Match, Idempotency-Key."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import azure.functions as func
import pytest

import domain.core.errors as errors
from domain.core.idempotency import Idempotency
from functions.http.kit.calls import ApiResponse, Call
from infra.outbound.request import OutboundRequest
from infra.sql.transaction import SqlTransaction, SqlTransactions
from tests.worlds.builders import Reply, echo
from tests.worlds.http_app import ALL, App, create_webhook, said, serving_app


def raise_event(app: App) -> func.HttpResponse:
    request = app.request("POST", "events", {"type": "A", "data": {}}, idempotency_key="k-1")
    return app.call("raise_events", request)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    for name in ("HUB_HOME", "HUB_ENVIRONMENT", "ServiceBusConnection"):
        monkeypatch.delenv(name, raising=False)
    with serving_app(tmp_path) as made:
        yield made


# -- versions ---------------------------------------------------------------------------------------------


def test_a_known_etag_is_answered_with_304_and_no_body(app: App) -> None:
    path = f"webhooks/{said(create_webhook(app))['webhookId']}"
    etag = app.call("get_webhook", app.request("GET", path)).headers["ETag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = app.call("get_webhook", app.request("GET", path, if_none_match=given))
        assert (response.status_code, response.get_body()) == (304, b"")
        assert response.headers["ETag"] == etag
    for given in ('"other"', etag.strip('"')):
        assert app.call("get_webhook", app.request("GET", path, if_none_match=given)).status_code == 200


def test_if_match_lets_only_the_current_version_change(app: App) -> None:
    created = create_webhook(app)
    path = f"webhooks/{said(created)['webhookId']}"

    def put(if_match: str) -> int:
        request = app.request("PUT", path, {"description": "x"}, if_match=if_match)
        return int(app.call("update_webhook", request).status_code)

    assert [put(tag) for tag in ('"0"', '"abc"', "junk")] == [412, 412, 412]
    assert put(created.headers["ETag"]) == 200
    assert put(created.headers["ETag"]) == 412
    assert put("*") == 200


# -- idempotency ------------------------------------------------------------------------------------------


def test_a_repeated_post_gets_the_first_answer_with_its_secret_and_headers(app: App) -> None:
    first, again = create_webhook(app, idempotency_key="k-1"), create_webhook(app, idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.get_body() == first.get_body()
    assert said(first)["secret"].startswith("whsec_")
    for name in ("Location", "ETag"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["Content-Type"] == first.mimetype == "application/json"
    assert again.headers["Idempotency-Replayed"] == "true"
    assert said(app.call("list_webhooks", app.request("GET", "webhooks")))["total"] == 1


def test_another_tenant_may_use_the_same_key(app: App) -> None:
    first = create_webhook(app, idempotency_key="k-1")
    other = create_webhook(app, idempotency_key="k-1", authorization=f"Bearer {app.token(*ALL, other=True)}")
    assert said(other)["webhookId"] != said(first)["webhookId"]


def test_the_key_does_not_answer_a_caller_without_the_permission(app: App) -> None:
    create_webhook(app, idempotency_key="k-1")
    refused = create_webhook(app, idempotency_key="k-1", authorization=f"Bearer {app.token('events:write')}")
    assert refused.status_code == 403
    assert b"whsec_" not in refused.get_body()


def test_another_body_or_another_path_under_the_key_is_422(app: App) -> None:
    create_webhook(app, idempotency_key="k-1")
    request = app.request(
        "POST", "webhooks", {"url": "https://b.example/", "eventTypes": ["*"]}, idempotency_key="k-1"
    )
    assert said(app.call("create_webhook", request))["code"] == "idempotency-key-reused"
    elsewhere = app.request("POST", "events", {"type": "A", "data": {}}, idempotency_key="k-1")
    assert app.call("raise_events", elsewhere).status_code == 422


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\n"])
def test_a_key_that_is_none_is_refused(app: App, key: str) -> None:
    assert create_webhook(app, idempotency_key=key).status_code == 422


def test_a_refused_request_leaves_the_key_free(app: App) -> None:
    bad = app.request(
        "POST", "webhooks", {"url": "http://a.example/", "eventTypes": ["*"]}, idempotency_key="k-1"
    )
    assert app.call("create_webhook", bad).status_code == 422
    assert create_webhook(app, idempotency_key="k-1").status_code == 201


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.OutcomeUnknown("Lost."), "outcome-unknown"), (RuntimeError("a bug"), "internal-error")],
)
def test_what_may_have_been_done_is_not_done_again_under_its_key(
    app: App, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    committing = SqlTransaction.commit

    def lost(tx: SqlTransaction) -> None:
        committing(tx)
        raise error

    create_webhook(app)  # its caller is known from now on
    with monkeypatch.context() as broken:
        broken.setattr(SqlTransaction, "commit", lost)
        assert said(raise_event(app))["code"] == code
    assert said(raise_event(app))["code"] == "idempotency-key-running"
    app.clock.advance(minutes=6)
    assert said(raise_event(app))["code"] == "idempotency-outcome-unknown"


def test_what_was_certainly_not_done_leaves_the_key_free(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(tx: SqlTransaction) -> None:
        raise errors.Unavailable("The database does not answer.")

    create_webhook(app)
    with monkeypatch.context() as broken:
        broken.setattr(SqlTransaction, "commit", away)
        assert raise_event(app).status_code == 503
    assert raise_event(app).status_code == 202


def lose_database(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """The database is away once it has committed `after` transactions."""
    commit, read, done = SqlTransaction.commit, SqlTransactions.read, itertools.count(1)
    is_lost = after == 0

    def committing(tx: SqlTransaction) -> None:
        nonlocal is_lost
        if is_lost:
            raise errors.Unavailable("The database does not answer.")
        commit(tx)
        is_lost = next(done) >= after

    def reading(transactions: SqlTransactions) -> AbstractContextManager[SqlTransaction]:
        if is_lost:
            raise errors.Unavailable("The database does not answer.")
        return read(transactions)

    monkeypatch.setattr(SqlTransaction, "commit", committing)
    monkeypatch.setattr(SqlTransactions, "read", reading)


def test_what_was_done_in_part_is_not_done_again_under_its_key(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test is stored, sent to the receiver, recorded and read."""
    path = f"webhooks/{said(create_webhook(app))['webhookId']}/test"
    request = app.request("POST", path, idempotency_key="k-1")
    with monkeypatch.context() as broken:
        lose_database(broken, after=1)
        cut_off = app.call("test_webhook", request)
    assert (cut_off.status_code, said(cut_off)["code"]) == (503, "outcome-unknown")
    assert len(app.receivers.posts) == 1
    assert said(app.call("test_webhook", request))["code"] == "idempotency-key-running"
    app.clock.advance(minutes=6)
    assert said(app.call("test_webhook", request))["code"] == "idempotency-outcome-unknown"
    assert len(app.receivers.posts) == 1


def twice(app: App) -> None:
    for _ in range(2):
        with app.hub.transactions.write() as tx:
            tx.commit()


async def twice_in_threads(app: App) -> None:
    for _ in range(2):
        await asyncio.to_thread(twice, app)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("after", "code"), [(0, "unavailable"), (1, "outcome-unknown")])
def test_a_change_that_was_done_in_part_never_says_that_nothing_was(
    app: App, monkeypatch: pytest.MonkeyPatch, is_async: bool, after: int, code: str
) -> None:
    def handler(call: Call) -> ApiResponse:
        twice(app)
        return ApiResponse()

    async def async_handler(call: Call) -> ApiResponse:
        await twice_in_threads(app)
        return ApiResponse()

    create_webhook(app)
    lose_database(monkeypatch, after=after)
    serve = app.serve(async_handler if is_async else handler)
    assert said(serve(app.request("POST", "things")))["code"] == code
    assert said(serve(app.request("PUT", "things")))["code"] == "unavailable"


def test_noting_who_asks_is_no_part_of_what_is_asked(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who is met for the first time is stored before the request begins."""
    with monkeypatch.context() as broken:
        lose_database(broken, after=1)
        assert said(raise_event(app))["code"] == "unavailable"
    assert raise_event(app).status_code == 202


def test_a_repeat_while_the_first_runs_is_409_and_runs_nothing(app: App) -> None:
    inner: list[int] = []

    def slow(request: OutboundRequest) -> Reply:
        if not inner:
            inner.append(0)
            again = app.request(
                "POST", "webhooks", {"url": "https://a.example/", "eventTypes": ["*"]}, idempotency_key="k-1"
            )
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as threads:
                inner[0] = threads.submit(app.call, "create_webhook", again).result().status_code
        return echo(request)

    app.receivers.verification = slow
    assert create_webhook(app, idempotency_key="k-1").status_code == 201
    assert inner == [409]


def test_an_answer_that_cannot_be_remembered_is_given_and_the_post_does_not_run_again(app: App) -> None:
    def refuse(*arguments: object) -> None:
        raise errors.Unavailable("The table store does not answer.")

    finishing = app.hub.use(Idempotency).finish
    app.hub.use(Idempotency).finish = refuse  # type: ignore[method-assign,assignment]
    assert create_webhook(app, idempotency_key="k-1").status_code == 201
    app.hub.use(Idempotency).finish = finishing  # type: ignore[method-assign]
    assert create_webhook(app, idempotency_key="k-1").status_code == 409
    assert said(app.call("list_webhooks", app.request("GET", "webhooks")))["total"] == 1


def test_a_failure_to_free_the_key_does_not_hide_the_answer(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> None:
        raise errors.Unavailable("The table store does not answer.")

    app.hub.use(Idempotency).abandon = refuse  # type: ignore[method-assign,assignment]
    bad = app.request(
        "POST", "webhooks", {"url": "http://a.example/", "eventTypes": ["*"]}, idempotency_key="k-1"
    )
    assert app.call("create_webhook", bad).status_code == 422
    assert "idempotency key not released" in caplog.text


def test_the_key_counts_only_on_post(app: App) -> None:
    for _ in range(2):
        response = app.call("list_webhooks", app.request("GET", "webhooks", idempotency_key="k-1"))
        assert response.status_code == 200
        assert "Idempotency-Replayed" not in response.headers


def test_no_answer_but_the_first_shows_the_secret(app: App) -> None:
    created = said(create_webhook(app))
    path = f"webhooks/{created['webhookId']}"
    for name, request in (
        ("get_webhook", app.request("GET", path)),
        ("list_webhooks", app.request("GET", "webhooks")),
        ("update_webhook", app.request("PUT", path, {"description": "x"})),
        ("verify_webhook", app.request("POST", path)),
        ("test_webhook", app.request("POST", path)),
    ):
        response = app.call(name, request)
        assert response.status_code == 200, name
        assert created["secret"] not in response.get_body().decode()
