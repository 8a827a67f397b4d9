"""The API reference as one self-contained page, which loads nothing from another origin."""

from __future__ import annotations

from html import escape
from string import Template

from domain.core.permissions import PERMISSIONS
from functions.http.kit.page import page_headers, static
from functions.http.kit.problem_codes import PROBLEM_CODES
from infra.version import VERSION

_SCRIPTS = ("elements.js", "schema.js", "request.js", "operation.js", "docs.js")


def _marked(text: str) -> str:
    """Return escaped text with code between backticks."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _problems() -> str:
    return "\n".join(
        f'<article class="problem" id="problem-{escape(code)}">'
        f'<h3><a href="#problem-{escape(code)}">{escape(code)}</a> '
        f'<span class="status s{problem.status // 100}">{problem.status}</span></h3>'
        f"<p>{_marked(problem.meaning)}</p><p><strong>What to do:</strong> {_marked(problem.remedy)}</p></article>"
        for code, problem in PROBLEM_CODES.items()
    )


def _permissions() -> str:
    return "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{escape(meaning)}</td></tr>'
        for name, meaning in PERMISSIONS.items()
    )


_CSS = static("theme.css", "docs.css")
_SCRIPT = static(*_SCRIPTS)

PAGE = Template(static("docs.html")).substitute(
    css=_CSS,
    script=_SCRIPT,
    version=escape(VERSION),
    permissions=_permissions(),
    problems=_problems(),
    verify_python=escape(static("verify.py").rstrip()),
    verify_node=escape(static("verify.mjs").rstrip()),
)

HEADERS = page_headers(_SCRIPT, _CSS)
