"""Acts of `make demo`: an integration and its records, an API key and its limit."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx
from rich.progress import BarColumn, Progress, TextColumn

from devhost.demo_api import PAGE_RECORDS, GuestApi
from devhost.demo_stage import ARRIVE_SECONDS, DemoFailed, Stage

RECORDS = 10_000
CHANGED_RECORDS = 7
KEY_LIMIT = 5
_RECORDS_PER_REQUEST = 200
_MAPPING = {
    "streams": {
        "records": {
            "recordType": "Contact",
            "fields": {
                "email": "source.email",
                "firstName": "source.name.given",
                "lastName": "source.name.family",
            },
        }
    }
}


def synchronisation(stack: ExitStack, stage: Stage) -> None:
    """Make a REST API an integration, import all its records, then only those that changed."""
    stage.act(f"5  An integration, and {RECORDS:,} records")
    api = stack.enter_context(GuestApi(RECORDS))
    stack.callback(api.shutdown)
    threading.Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
    integration_id = _integrate(stack, stage, api)
    job = _synchronise(stage, integration_id, "Full")
    job_id = job["dataSyncJobId"]
    found = _written(stage, job_id)
    if found != {guest["id"] for guest in api.guests}:
        raise DemoFailed(f"{len(found):,} of {RECORDS:,} records arrived")
    stage.say(f"GET /api/datasyncs/{job_id}/records: {len(found):,} records, every one of them once.")
    api.change(CHANGED_RECORDS)
    stage.say(f"{CHANGED_RECORDS} guests change their address.")
    again = _synchronise(stage, integration_id, "Differential")
    if again["recordsWritten"] != CHANGED_RECORDS:
        raise DemoFailed(f"{again['recordsWritten']} records were written, not {CHANGED_RECORDS}")
    stage.say(f"{again['recordsWritten']} written, {again['recordsUnchanged']:,} left alone.")
    stage.numbers += [
        ("Records synchronised", f"{len(found):,}"),
        ("Records a second", f"{job['progress']['ratePerSecond'] or 0:,.0f}"),
        ("Changed at the provider / written again", f"{CHANGED_RECORDS} / {again['recordsWritten']}"),
    ]


def _integrate(stack: ExitStack, stage: Stage, api: GuestApi) -> str:
    paging = {"style": "cursor", "parameter": "cursor", "sizeParameter": "size", "cursorPointer": "/next"}
    listing = {
        "path": "/guests",
        "recordsPointer": "/guests",
        "idPointer": "/id",
        "modifiedPointer": "/changed",
        "paging": {**paging, "size": PAGE_RECORDS},
    }
    command = {
        "name": f"Guest list {uuid4().hex[:8]}",
        "integrationType": "CustomAPI",
        "provider": "REST",
        "configuration": {"baseUrl": api.url, "healthPath": "/health", "listRequest": listing},
    }
    made = stage.hub.call("POST", "integrations", command)
    integration_id = str(made["integrationId"])
    stack.callback(stage.hub.call, "DELETE", f"integrations/{integration_id}")
    stage.say(f"POST /api/integrations: {made['status']}.")
    stage.hub.call("PUT", f"integrations/{integration_id}/mapping", _MAPPING)
    stage.say("PUT .../mapping: its guests are our contacts (source.name.given is firstName, and so on).")
    return integration_id


def _synchronise(stage: Stage, integration_id: str, sync_type: str) -> dict[str, Any]:
    """Watch a job to its end. Raises DemoFailed when it does not complete."""
    command = {"integrationId": integration_id, "syncType": sync_type}
    job_id = stage.hub.call("POST", "datasyncs", command)["dataSyncJobId"]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,}"),
        TextColumn("{task.fields[pace]}"),
    )
    deadline = time.monotonic() + ARRIVE_SECONDS
    with Progress(*columns, console=stage.console) as bar:
        task = bar.add_task(f"{sync_type} import", total=RECORDS, pace="")
        while time.monotonic() < deadline:
            job: dict[str, Any] = stage.hub.call("GET", f"datasyncs/{job_id}")
            progress = job["progress"]
            bar.update(task, completed=progress["processed"], pace=_pace(progress))
            if job["status"] not in ("Scheduled", "Running"):
                break
            time.sleep(0.1)
    if job["status"] != "Completed":
        raise DemoFailed(f"the {sync_type} import is {job['status']}: {job['errorLog']}")
    return job


def _pace(progress: dict[str, Any]) -> str:
    parts = []
    if progress["ratePerSecond"] is not None:
        parts.append(f"{progress['ratePerSecond']:,.0f} a second")
    if progress["etaSeconds"]:
        parts.append(f"{progress['etaSeconds']:.0f} s left")
    return ", ".join(parts)


def _written(stage: Stage, job_id: str) -> set[str]:
    """Return the ids of all records that the job wrote."""
    found: list[str] = []
    total, page = 1, 1
    while len(found) < total:
        answer = stage.hub.call(
            "GET", f"datasyncs/{job_id}/records", page=page, pageSize=_RECORDS_PER_REQUEST
        )
        if not answer["items"]:
            break
        found += [record["externalId"] for record in answer["items"]]
        total, page = answer["total"], page + 1
    if len(found) != len(set(found)):
        raise DemoFailed("a record is there twice")
    return set(found)


def api_key(stack: ExitStack, stage: Stage) -> None:
    """Issue a key, use it up to its hourly limit, and revoke it."""
    stage.act(f"6  An API key that may call {KEY_LIMIT} times an hour")
    command = {
        "keyName": f"Demo {uuid4().hex[:8]}",
        "scopes": ["integration:manage"],
        "rateLimitPerHour": KEY_LIMIT,
    }
    issued = stage.hub.call("POST", "apikeys", command)
    path = f"apikeys/{issued['apiKeyId']}"
    stack.callback(stage.hub.call, "DELETE", path)
    stage.say(f"POST /api/apikeys: {issued['keyPrefix']}..., shown this once.")
    key = str(issued["key"])
    for number in range(1, KEY_LIMIT + 1):
        answer = _called(stage, key, 200)
        left = answer.headers["x-ratelimit-remaining"]
        stage.say(f"[dim]call {number}: 200, {left} left[/]")
    limited = _called(stage, key, 429)
    minutes = int(limited.headers["retry-after"]) / 60
    stage.say(f"call {KEY_LIMIT + 1}: 429, {limited.json()['detail']} (Retry-After: {minutes:.0f} minutes)")
    stage.hub.call("DELETE", path, reason="The demo is over")
    refused = _called(stage, key, 401)
    stage.say(f"Revoked; the next call: 401, {refused.json()['detail']}")
    stage.numbers.append(("Calls an API key made / was refused", f"{KEY_LIMIT} / 2"))


def _called(stage: Stage, key: str, expected: int) -> httpx.Response:
    """One call with the key. Raises DemoFailed when another status comes."""
    answer = httpx.get(f"{stage.url}/api/apikeys/scopes", headers={"x-api-key": key}, timeout=30)
    if answer.status_code != expected:
        raise DemoFailed(f"a call with the key was answered {answer.status_code}, not {expected}")
    return answer
