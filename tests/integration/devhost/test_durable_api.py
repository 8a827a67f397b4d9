"""The status and management API, through the SDK's own client and over plain HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import azure.durable_functions as df
import azure.functions as func
import pytest
from aiohttp import web
from azure.durable_functions.models.utils.http_utils import _close_session

from tests.worlds.durable_app import KEYS, START, Harness, ManualClock, SampleApp, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def hub(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Harness]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        functions = SampleApp().functions()
        async with running(tmp_path / "durable.db", functions, clock, base_url=base_url) as harness:

            async def answer(request: web.Request) -> web.Response:
                status, headers, body = await harness.host.handle(
                    request.method,
                    request.path,
                    request.query,
                    await request.read(),
                    key=request.query.get("code"),
                )
                return web.Response(status=status, headers=headers, body=body)

            server = web.Application()
            server.router.add_route("*", "/{tail:.*}", answer)
            runner = web.AppRunner(server)
            await runner.setup()
            await web.SockSite(runner, listening).start()
            yield harness
            await _close_session()
            await runner.cleanup()


@pytest.fixture
def client(hub: Harness) -> df.DurableOrchestrationClient:
    return df.DurableOrchestrationClient(hub.host.client_binding())


async def test_the_client_starts_and_waits_for_an_orchestration(
    client: df.DurableOrchestrationClient,
) -> None:
    request = func.HttpRequest("POST", "http://hub.example/api/start", body=b"")
    instance = await client.start_new("sequence", client_input={"cities": ["Quito"]})
    response = await client.wait_for_completion_or_create_check_status_response(request, instance, 5_000, 10)
    assert response.status_code == 200
    assert json.loads(response.get_body()) == ["Hello Quito"]


async def test_a_running_orchestration_gives_the_check_status_response(
    client: df.DurableOrchestrationClient, hub: Harness
) -> None:
    request = func.HttpRequest("POST", "http://hub.example/api/start", body=b"")
    await client.start_new("approval", "i1")
    response = await client.wait_for_completion_or_create_check_status_response(request, "i1", 20, 10)
    urls = json.loads(response.get_body())
    assert response.status_code == 202
    assert response.headers["Location"] == urls["statusQueryGetUri"]
    prefix = f"http://hub.example{hub.host.prefix}/instances/i1"
    query = f"taskHub=TestHub&connection=Storage&code={KEYS.durable}"
    assert urls["sendEventPostUri"] == f"{prefix}/raiseEvent/{{eventName}}?{query}"
    assert urls["terminatePostUri"] == f"{prefix}/terminate?reason={{text}}&{query}"
    assert urls["id"] == "i1"


async def test_the_client_raises_events_suspends_resumes_and_terminates(
    client: df.DurableOrchestrationClient, hub: Harness
) -> None:
    first = await client.start_new("approval")
    await client.suspend(first, "a break & more")
    assert (await client.get_status(first)).runtime_status is df.OrchestrationRuntimeStatus.Suspended
    await client.resume(first, "done")
    await client.raise_event(first, "approved", False)
    assert (await hub.end(first))["output"] == "false"
    second = await client.start_new("approval")
    await client.terminate(second, "not needed")
    status = await client.get_status(second)
    assert (status.runtime_status, status.output) == (
        df.OrchestrationRuntimeStatus.Terminated,
        "not needed",
    )
    with pytest.raises(Exception, match="is gone"):
        await client.raise_event(second, "approved", True)
    with pytest.raises(Exception, match="No instance"):
        await client.raise_event("nobody", "approved", True)


async def test_the_client_sees_an_unknown_instance_as_no_status(
    client: df.DurableOrchestrationClient,
) -> None:
    assert not await client.get_status("nobody")


async def test_the_client_learns_why_a_start_was_refused(client: df.DurableOrchestrationClient) -> None:
    with pytest.raises(Exception, match="'nothing' doesn't exist"):
        await client.start_new("nothing")
    await client.start_new("approval", "single")
    with pytest.raises(Exception, match="'single' is already running"):
        await client.start_new("approval", "single")


async def test_the_client_filters_by_status_time_and_prefix(
    client: df.DurableOrchestrationClient, hub: Harness, clock: ManualClock
) -> None:
    await client.start_new("sequence", "job-1", {"cities": ["A"]})
    await hub.end("job-1")
    clock.advance(60)
    await client.start_new("approval", "job-2")
    await client.start_new("approval", "other")
    completed = await client.get_status_by(runtime_status=[df.OrchestrationRuntimeStatus.Completed])
    assert [status.instance_id for status in completed] == ["job-1"]
    recent = await client.get_status_by(START + timedelta(seconds=30), START + timedelta(seconds=90))
    assert [status.instance_id for status in recent] == ["job-2", "other"]
    jobs = await client.get_status_by(instance_id_prefix="job-")
    assert [status.instance_id for status in jobs] == ["job-1", "job-2"]
    assert len(await client.get_status_all()) == 3


async def test_a_list_is_read_page_by_page(hub: Harness) -> None:
    for number in range(5):
        await hub.start("approval", instance_id=f"i{number}")
    seen, token = [], ""
    for _ in range(3):
        _, headers, body = await hub.host.handle(
            "GET", f"{hub.host.prefix}/instances", {"top": "2", "continuationToken": token}, b"", key="master"
        )
        seen.append([status["instanceId"] for status in json.loads(body)])
        token = headers["x-ms-continuation-token"]
    assert (seen, token) == ([["i0", "i1"], ["i2", "i3"], ["i4"]], "")


async def test_only_finished_orchestrations_are_purged(
    client: df.DurableOrchestrationClient, hub: Harness
) -> None:
    await client.start_new("sequence", "finished", {"cities": []})
    await hub.end("finished")
    await client.start_new("approval", "open")
    assert (await client.purge_instance_history("finished")).instances_deleted == 1
    assert (await client.purge_instance_history("finished")).instances_deleted == 0
    assert (await hub.call("DELETE", "/instances/open"))[0] == 412


async def test_purge_by_filter_deletes_what_matches(
    client: df.DurableOrchestrationClient, hub: Harness, clock: ManualClock
) -> None:
    for name in ("old", "new"):
        await client.start_new("sequence", name, {"cities": []})
        await hub.end(name)
        clock.advance(100)
    await client.start_new("approval", "open")
    done = [df.OrchestrationRuntimeStatus.Completed]
    before = START + timedelta(seconds=50)
    assert (await client.purge_instance_history_by(START, before, done)).instances_deleted == 1
    assert (await client.purge_instance_history_by(START)).instances_deleted == 1
    assert [status.instance_id for status in await client.get_status_all()] == ["open"]


async def test_restart_runs_the_same_input_again(client: df.DurableOrchestrationClient, hub: Harness) -> None:
    await client.start_new("sequence", "one", {"cities": ["Bonn"]})
    await hub.end("one")
    links = await client.restart("one")
    assert links["id"] != "one"
    assert (await hub.end(links["id"]))["output"] == ["Hello Bonn"]
    await client.restart("one", restart_with_new_instance_id=False)
    assert (await hub.end("one"))["output"] == ["Hello Bonn"]


async def test_rewind_is_refused_in_words(client: df.DurableOrchestrationClient) -> None:
    await client.start_new("approval", "i")
    with pytest.raises(Exception, match="does not support rewind"):
        await client.rewind("i", "please")


async def test_a_start_may_wait_for_the_end(hub: Harness) -> None:
    status, answer = await hub.call(
        "POST", "/orchestrators/sequence", {"cities": ["Kyiv"]}, timeout="5", pollingInterval="0.01"
    )
    assert (status, answer["output"]) == (200, ["Hello Kyiv"])
    status, answer = await hub.call("POST", "/orchestrators/approval", timeout="0.02", pollingInterval="0.01")
    assert status == 202 and "statusQueryGetUri" in answer


async def test_input_and_history_payloads_are_shown_on_request(hub: Harness) -> None:
    instance = await hub.start("sequence", {"cities": ["Riga"]})
    await hub.end(instance)
    plain = await hub.status(instance, showInput="false", showHistory="true")
    assert plain["input"] is None
    assert not any("Result" in event for event in plain["historyEvents"])
    full = await hub.status(instance, showHistory="true", showHistoryOutput="true")
    assert json.loads(full["input"]) == {"cities": ["Riga"]}
    assert any(event.get("Result") == '"Hello Riga"' for event in full["historyEvents"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/instances/nobody", 404),
        ("POST", "/instances/nobody/terminate", 404),
        ("POST", "/instances/nobody/dance", 404),
        ("DELETE", "/instances", 400),
        ("GET", "/entities/counter/1", 501),
    ],
)
async def test_other_requests_are_refused(hub: Harness, method: str, path: str, status: int) -> None:
    assert (await hub.call(method, path))[0] == status


@pytest.mark.parametrize("query", [{"createdTimeFrom": "yesterday"}, {"top": "many"}])
async def test_malformed_filters_are_400(hub: Harness, query: dict[str, str]) -> None:
    assert (await hub.call("GET", "/instances", **query))[0] == 400


async def test_a_body_that_is_not_json_is_400(hub: Harness) -> None:
    answer = await hub.host.handle(
        "POST", f"{hub.host.prefix}/orchestrators/approval", {}, b"{", key="master"
    )
    assert answer[0] == 400


async def test_a_stopped_host_answers_503(tmp_path: Path, clock: ManualClock) -> None:
    async with running(tmp_path / "durable.db", SampleApp().functions(), clock) as harness:
        await asyncio.sleep(0)
    assert (await harness.call("GET", "/instances"))[0] == 503
