"""On Azure the Functions worker has a log handler of its own; its lines are ours too."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from infra.observability import logs


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def test_a_handler_that_was_there_keeps_its_stream_and_writes_json(root: logging.Logger) -> None:
    stream = io.StringIO()
    root.handlers[:] = [logging.StreamHandler(stream)]
    logs.shape("INFO")
    logging.getLogger("hub.messages").warning("alert", extra={"alert": {"kind": "sync-failed"}})
    line = json.loads(stream.getvalue())
    assert (line["message"], line["alert"]) == ("alert", {"kind": "sync-failed"})
