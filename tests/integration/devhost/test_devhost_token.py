"""`python -m devhost token`."""

from __future__ import annotations

from pathlib import Path

import pytest

from devhost.cli import main


def test_a_permission_that_the_hub_does_not_have_is_pointed_out_and_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_HOME", str(tmp_path))
    arguments = ["token", "--app-dir", str(tmp_path), "--permissions"]
    assert main([*arguments, "webhook:manage"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*arguments, "webhooks:manage,events:write"]) == 0
    token, told = capsys.readouterr()
    assert token.count(".") == 2
    assert told.startswith("devhost: the hub has no permission webhooks:manage; it has integration:manage, ")
