"""What the repository says about itself is so."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from devhost.readme import BEGIN, END, README, with_table
from examples.receiver import BadSignature, Receiver, verify
from infra.app.settings import Settings
from infra.version import VERSION
from tests import ROOT

DOCUMENTS = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_readme_lists_every_setting_as_it_is() -> None:
    text = README.read_text()
    assert BEGIN in text
    assert END in text
    assert with_table(text) == text, "run `make docs`"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_settings_that_exist(document: Path) -> None:
    of_tests = {"HUB_TEST_SQLSERVER", "HUB_TEST_AZURE", "HUB_TEST_WORKER", "HUB_PYTHON"}
    others = {"HUB_URL", "HUB_TOKEN", "HUB_OUTBOUND_ADDRESSES"} | of_tests
    known = {f"HUB_{name.upper()}" for name in Settings.model_fields} | others
    assert set(re.findall(r"HUB_[A-Z_]+[A-Z]", document.read_text())) <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_link_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_make_targets_that_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make (?:-s )?([a-z]+)", document.read_text(), re.MULTILINE)) <= targets


def test_the_index_of_the_documentation_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"]({page})" not in index] == []


def _rows_of_files(document: str) -> Iterator[tuple[str, list[str]]]:
    """The tables' rows with a cell for a Python file, with the names in the cell after it."""
    for line in (ROOT / document).read_text().splitlines():
        for file, cell in re.findall(r"\| `([\w/]+\.py)` \|([^|]*)", line):
            yield file, re.findall(r"`([A-Za-z_][\w.]*)`", cell)


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_what_the_doors_tell_to_look_for_is_in_its_file(document: str) -> None:
    missing = [
        f"{file}: {name}"
        for file, names in _rows_of_files(document)
        for name in names
        for part in name.split(".")
        if not re.search(rf"^\s*(async def|def|class) {part}\b|^{part}\b.* =", _text(file), re.MULTILINE)
    ]
    assert missing == []


def _text(file: str) -> str:
    return (ROOT / file).read_text() if (ROOT / file).exists() else ""


def test_the_tests_that_recipes_name_exist() -> None:
    known = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert len(named) > 10
    assert [name for name in sorted(named) if f"def {name}(" not in known] == []


def test_every_make_target_is_explained_by_help() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert sorted(line.split()[1] for line in shown.splitlines()) == sorted(phony)


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_checks_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def _is_left_out(path: str) -> bool:
    patterns = [line for line in (ROOT / ".funcignore").read_text().splitlines() if line and line[0] != "#"]
    parts = path.split("/")
    folders, name = parts[:-1], parts[-1]
    return any(
        any(fnmatch.fnmatch(folder, pattern.rstrip("/")) for folder in folders)
        or (not pattern.endswith("/") and fnmatch.fnmatch(name, pattern))
        for pattern in patterns
    )


@pytest.mark.parametrize("path", ["function_app.py", "host.json", "requirements.txt"])
def test_azure_gets_the_app(path: str) -> None:
    assert not _is_left_out(path)


@pytest.mark.parametrize("package", ["domain", "functions", "infra"])
def test_azure_gets_every_file_of_the_app(package: str) -> None:
    files = [path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert files
    assert [path for path in files if _is_left_out(path.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(
    "path",
    [
        "devhost/cli.py",
        "tests/integration/repository/test_repository.py",
        "docs/delivery.md",
        "local.settings.json",
        ".hub/hub.db",
        ".venv/bin/python",
        "README.md",
    ],
)
def test_azure_does_not_get_what_it_does_not_need(path: str) -> None:
    assert _is_left_out(path)


def _signed(body: bytes, sent_at: datetime) -> dict[str, str]:
    signature = Webhook(SECRET).sign("evt_1", sent_at, body.decode())
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": f"v1,b3RoZXI= {signature}",
    }


def test_the_example_receiver_agrees_with_the_standard_webhooks_library() -> None:
    sent_at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    headers = _signed(b'{"type":"a"}', sent_at)
    assert verify(SECRET, headers, b'{"type":"a"}', now=sent_at.timestamp() + 299) == "evt_1"
    with pytest.raises(BadSignature, match="no signature fits"):
        verify(SECRET, headers, b'{"type":"b"}', now=sent_at.timestamp())
    with pytest.raises(BadSignature, match="too far"):
        verify(SECRET, headers, b'{"type":"a"}', now=sent_at.timestamp() + 301)
    with pytest.raises(BadSignature, match="missing"):
        verify(SECRET, {}, b'{"type":"a"}', now=sent_at.timestamp())


def test_the_example_receiver_answers_the_verification_and_refuses_forgeries() -> None:
    with Receiver() as receiver:
        receiver.secret = lambda: SECRET
        asked = b'{"type":"webhook.verification","id":"1","data":{"challenge":"abc"}}'
        assert receiver.answer({}, asked) == (200, {"challenge": "abc"})
        status, _ = receiver.answer({}, b'{"type":"a","id":"1","data":{}}')
    assert (status, receiver.refused, receiver.valid) == (401, 1, 0)
