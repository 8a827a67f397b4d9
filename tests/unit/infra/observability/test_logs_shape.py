"""The app's lines are JSON on standard output from the moment its hub is built."""

from __future__ import annotations

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


def test_a_line_is_json_with_what_it_is_about(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_standard_output()
    logs.set_level("INFO")
    logging.getLogger("hub.messages").warning("alert", extra={"alert": {"kind": "sync-failed"}})
    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["level"], line["alert"]) == ("alert", "WARNING", {"kind": "sync-failed"})
