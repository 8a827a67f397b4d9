"""`python -m devhost secret`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from devhost.cli import main
from infra.embedded.secrets import EmbeddedSecretStore


def test_a_secret_is_read_from_standard_input_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_HOME", str(tmp_path))
    for name, code in (("oauth-app-google", 0), ("no_such_name", 1)):
        monkeypatch.setattr("sys.stdin", io.StringIO("GOCSPX-0123\n"))
        assert bool(main(["secret", name, "--app-dir", str(tmp_path)])) == bool(code)
    told = capsys.readouterr()
    assert "GOCSPX" not in told.out + told.err
    assert EmbeddedSecretStore(tmp_path).get("oauth-app-google") == "GOCSPX-0123"
