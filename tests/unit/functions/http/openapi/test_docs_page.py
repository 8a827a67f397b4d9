"""The documentation page is self-contained, runs under its own policy, and explains every problem."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from domain.webhooks.signing import new_secret, signed_headers
from functions.http.kit.problem_codes import PROBLEM_CODES
from functions.http.kit.problems import problem
from functions.http.openapi.page import HEADERS, PAGE
from functions.http.ops import routes
from infra.version import VERSION

STATIC = Path(routes.__file__).parents[1] / "static"
POLICY = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))


class Reader(HTMLParser):
    """Ids, links, inline texts by tag, and what would load or run something else."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.loads: list[str] = []
        self.refused: list[str] = []
        self._inside = ""
        self.feed(PAGE)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href"):
                self.loads.append(value or "")
            elif name == "style" or name.startswith("on"):
                self.refused.append(name)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.inline:
            self.inline[self._inside].append(data)


READER = Reader()


def source_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_policy_names_the_one_script_and_the_one_style_by_hash() -> None:
    assert [source_of(text) for text in READER.inline["script"]] == [POLICY["script-src"]]
    assert [source_of(text) for text in READER.inline["style"]] == [POLICY["style-src"]]
    assert POLICY["default-src"] == "'none'"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_the_page_loads_nothing_from_anywhere() -> None:
    assert READER.loads == ["data:,"]
    assert READER.refused == []
    assert not re.search(r"@import|url\(", READER.inline["style"][0])


def test_the_script_writes_no_markup_and_stores_nothing() -> None:
    [script] = READER.inline["script"]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in script
    for word in ("localStorage", "sessionStorage", "document.cookie", "indexedDB"):
        assert word not in script


def test_every_problem_has_its_section() -> None:
    assert {f"problem-{code}" for code in PROBLEM_CODES} == {
        id_ for id_ in READER.ids if id_.startswith("problem-")
    }


@pytest.mark.parametrize("code", PROBLEM_CODES)
def test_the_type_of_a_problem_leads_to_its_section(code: str) -> None:
    answer = problem(PROBLEM_CODES[code].status, code, "text", instance="/api/x", trace_id="0" * 32)
    path, _, fragment = json.loads(answer.get_body())["type"].partition("#")
    assert path == "/api/docs"
    assert fragment in READER.ids


def test_ids_are_unique_and_links_within_the_page_lead_somewhere() -> None:
    assert len(set(READER.ids)) == len(READER.ids)
    for link in READER.links:
        assert not link.startswith("#") or link[1:] in READER.ids


def test_texts_of_the_tables_are_escaped_and_the_version_is_shown() -> None:
    assert f"API {VERSION}" in PAGE
    assert "Bearer &lt;token&gt;" in PAGE
    assert not re.search(r"\$\w+_?\w*</", PAGE)


def test_the_page_is_served_with_its_headers() -> None:
    request = func.HttpRequest("GET", "http://localhost/api/docs", body=b"")
    answer = routes.docs(request)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    for name, value in HEADERS.items():
        assert answer.headers[name] == value


def receive(body: bytes, headers: dict[str, str], secret: str) -> tuple[int, dict[str, Any], list[Any]]:
    """The Python receiver that the page shows, run as it stands; with the events it handled."""
    scope: dict[str, Any] = {}
    handled: list[Any] = []
    exec((STATIC / "verify.py").read_text(encoding="utf-8"), scope)
    status, answer = scope["receive"](body, headers, secret, handled.append)
    return status, answer, handled


def test_the_python_receiver_takes_what_we_sign() -> None:
    secret, body = new_secret(), b'{"type":"BookingConfirmed","data":{"seats":2}}'
    headers = signed_headers([new_secret(), secret], "e-1", datetime.now(UTC), body)
    assert receive(body, headers, secret) == (200, {}, [json.loads(body)])


def test_the_python_receiver_answers_the_challenge() -> None:
    secret, body = new_secret(), b'{"type":"webhook.verification","data":{"challenge":"abc"}}'
    headers = signed_headers([secret], "e-1", datetime.now(UTC), body)
    assert receive(body, headers, secret) == (200, {"challenge": "abc"}, [])


def test_the_python_receiver_refuses_an_altered_body() -> None:
    secret = new_secret()
    headers = signed_headers([secret], "e-1", datetime.now(UTC), b'{"type":"A"}')
    assert receive(b'{"type":"B"}', headers, secret) == (401, {"error": "bad signature"}, [])
