"""What Azure's host and the library of its Python worker make of requests, batches and log lines: facts that the app
and the development host are built on, shown by an app that tells what it was given."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import harness
from bench.harness import running
from infra.clock import AdjustableClock
from infra.embedded.queue import EmbeddedQueue, QueueMessage
from tests import ROOT
from tests.worlds import worker_environment
from tests.worlds.worker_host import Answer, WorkerHost, as_bytes, as_json, as_strings

pytestmark = pytest.mark.e2e

_APP = ROOT / "tests/fixtures/probe_app"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerHost]:
    own = harness.serving
    harness.serving = worker_environment.serving(_APP)
    home = tmp_path_factory.mktemp("probe") / "hub"
    home.mkdir()
    try:
        with running(home, HUB_LOG_LEVEL="INFO") as host:
            yield WorkerHost(host)
    finally:
        harness.serving = own


def lines(probe: WorkerHost, **wanted: object) -> list[str]:
    return [each["message"] for each in probe.journal(kind="log", category="probe", **wanted)]


def taken(probe: WorkerHost, answer: Answer) -> list[list[str | None]]:
    """What the function that was just handed a batch had of it: (body, id) pairs."""
    assert answer.failure == ""
    found = lines(probe, kept=True)[-1]
    return list(json.loads(found.removeprefix("taken ")))


def test_a_line_is_kept_only_when_it_names_an_invocation_that_runs(probe: WorkerHost) -> None:
    assert probe.http("lines_def", "GET").failure == ""
    assert probe.http("lines_async", "GET").failure == ""
    probe.eventually(lambda: "after the answer" in lines(probe))
    assert set(lines(probe, kept=True)) == {"in a def function", "in an async function", "in a task of it"}
    assert set(lines(probe, kept=False)) == {
        "in a thread of its own",
        "in a task that nobody's task made",
        "after the answer",
    }
    # The last one names its invocation, which is over.
    assert [bool(each["id"]) for each in probe.journal(message="after the answer")] == [True]
    assert [bool(each["id"]) for each in probe.journal(message="in a thread of its own")] == [False]


def test_what_the_process_prints_is_forwarded(probe: WorkerHost) -> None:
    assert probe.http("lines_async", "GET").failure == ""
    probe.eventually(lambda: probe.journal(kind="printed", stream="stdout", line="printed by hand"))
    assert "printed by hand" in probe.host.log.read_text()


def echoed(probe: WorkerHost, path: str, data: bytes | Iterator[bytes] | None = None, **headers: str) -> dict:
    request = urllib.request.Request(f"{probe.host.url}/echo/{path}", data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201
        return dict(json.loads(answer.read()))


def test_a_query_parameter_without_a_value_is_dropped(probe: WorkerHost) -> None:
    assert echoed(probe, "x?empty=&bare&full=1&two=a&two=b")["query"] == {"full": "1", "two": "a,b"}


def test_a_body_that_comes_in_chunks_is_empty_and_one_of_a_known_length_is_not(probe: WorkerHost) -> None:
    assert echoed(probe, "x", b"whole")["body"] == "whole"
    assert echoed(probe, "x", iter([b"in ", b"pieces"]))["body"] == ""
    assert echoed(probe, "x", b"")["body"] == ""


def test_values_of_a_header_that_comes_twice_are_joined_and_its_name_is_lower_case(probe: WorkerHost) -> None:
    seen = echoed(probe, "a%20name", None, **{"X-One": "1", "Cookie": "a=1; b=2"})
    assert (seen["headers"]["x-one"], seen["headers"]["cookie"]) == ("1", "a=1; b=2")
    assert seen["route"] == {"name": "a name"}


def test_each_cookie_of_an_answer_leaves_with_its_attributes(probe: WorkerHost) -> None:
    with urllib.request.urlopen(f"{probe.host.url}/echo/x", timeout=30) as answer:
        first, second = answer.headers.get_all("set-cookie")
    assert first.split(";")[0] == "first=1"
    assert {part.strip() for part in first.split(";")[1:]} == {
        "Path=/",
        "HttpOnly",
        "Secure",
        "SameSite=Lax",
        "Max-Age=600",
    }
    assert second.split(";") == ["second=2", " Path=/api"]


def test_what_a_function_raises_reaches_the_host_and_no_caller(probe: WorkerHost) -> None:
    assert probe.http("fail", "GET").failure == "RuntimeError: a text that is not for callers"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{probe.host.url}/fail", timeout=30)
    assert refused.value.code == 500
    assert b"not for callers" not in refused.value.read()


@pytest.mark.parametrize(
    ("ids", "seen"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["b", "c"], ["b", "c", None]),  # the first has none
        (["a", "c"], ["a", "c", None]),  # the second
        (["a", "b"], ["a", "b", None]),  # the third
        ([], [None, None, None]),
    ],
)
def test_an_id_that_is_missing_moves_those_behind_it_to_messages_that_are_not_theirs(
    probe: WorkerHost, ids: list[str], seen: list[str | None]
) -> None:
    bodies = ("one", "two", "three")
    for name, batch in (("take_bytes", as_bytes(*bodies)), ("take_strings", as_strings(*bodies))):
        answer = probe.messages(name, batch, 3, ids)
        assert taken(probe, answer) == [list(pair) for pair in zip(bodies, seen, strict=True)], name


def test_a_batch_without_a_type_of_data_is_written_anew_as_json(probe: WorkerHost) -> None:
    answer = probe.messages("take_anything", as_json('{"b":1,  "a":[1.50]}'), 1, ["a"])
    assert taken(probe, answer) == [['{"b": 1, "a": [1.5]}', "a"]]


def test_a_batch_of_fewer_bodies_than_messages_fails_as_a_whole(probe: WorkerHost) -> None:
    """So it is where the host leaves empty bodies out."""
    answer = probe.messages("take_strings", as_strings("one", "three"), 3, ["a", "b", "c"])
    assert answer.failure.startswith("IndexError")


def sent(probe: WorkerHost, queue: str, *bodies: str) -> list[str]:
    """Send to the embedded queue, and give what the function had of it in the end."""
    before = len(lines(probe, kept=True))
    clock = AdjustableClock(Path(probe.host.home) / "clock")
    sender = EmbeddedQueue(Path(probe.host.home) / "queue.db", clock)
    sender.send(queue, [QueueMessage(body, message_id=f"{queue}-{n}") for n, body in enumerate(bodies)])
    sender.close()
    probe.eventually(lambda: len(lines(probe, kept=True)) > before)
    return [json.loads(line.removeprefix("taken "))[0][0] for line in lines(probe, kept=True)[before:]]


def test_bytes_alone_reach_a_function_as_they_were_sent(probe: WorkerHost) -> None:
    body = '{"at": "2026-03-01T10:00:00.500+02:00"}'
    assert sent(probe, "of-bytes", body) == [body]
    assert sent(probe, "of-strings", body) == [body]
    assert sent(probe, "of-anything", body) == ['{"at": "2026-03-01T08:00:00.5+00:00"}']


def test_a_body_that_is_not_json_fails_a_batch_without_a_type_of_data(probe: WorkerHost) -> None:
    invoked = len(probe.journal(kind="invocation", function="take_anything"))
    clock = AdjustableClock(Path(probe.host.home) / "clock")
    sender = EmbeddedQueue(Path(probe.host.home) / "queue.db", clock)
    sender.send("of-anything", [QueueMessage("not JSON", message_id="odd")])
    probe.eventually(lambda: sender.depths()["of-anything"].dead == 1)
    sender.close()
    assert len(probe.journal(kind="invocation", function="take_anything")) == invoked


def test_a_body_is_bytes_in_the_request_whatever_it_holds(probe: WorkerHost) -> None:
    answer = probe.http("echo", "POST", "echo/x", "ü".encode(), params={"name": "x"})
    seen = json.loads(base64.b64decode(answer.value["http"]["body"]["bytes"]))
    assert seen["body"] == "ü"


def test_zz_the_end_of_a_worker_cuts_what_it_was_doing(probe: WorkerHost) -> None:
    """SIGTERM ends the process at once: no handler, no rest of the function. The last test of this file."""
    with pytest.raises(urllib.error.HTTPError) as cut:
        urllib.request.urlopen(f"{probe.host.url}/end", timeout=30)
    assert cut.value.code == 500
    assert not (Path(probe.host.home) / "end").exists()
