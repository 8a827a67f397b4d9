"""The documentation as one self-contained page: no other origin, nothing that the policy below does not name."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

from domain.identity.model import PERMISSIONS
from functions.http.problem_codes import PROBLEM_CODES
from infra.version import VERSION

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("elements.js", "schema.js", "request.js", "operation.js", "docs.js")


def _file(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _marked(text: str) -> str:
    """Escaped text; what stands in backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _problems() -> str:
    return "\n".join(
        f'<article class="problem" id="problem-{escape(code)}">'
        f'<h3><a href="#problem-{escape(code)}">{escape(code)}</a> '
        f'<span class="status s{one.status // 100}">{one.status}</span></h3>'
        f"<p>{_marked(one.meaning)}</p><p><strong>What to do:</strong> {_marked(one.remedy)}</p></article>"
        for code, one in PROBLEM_CODES.items()
    )


def _permissions() -> str:
    return "".join(
        f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{escape(meaning)}</td></tr>'
        for name, meaning in PERMISSIONS.items()
    )


def _hash(text: str) -> str:
    """A source expression of Content Security Policy level 3, section 2.3.1."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_CSS = _file("docs.css")
_SCRIPT = "\n".join(_file(name) for name in _SCRIPTS)

PAGE = Template(_file("docs.html")).substitute(
    css=_CSS,
    script=_SCRIPT,
    version=escape(VERSION),
    permissions=_permissions(),
    problems=_problems(),
    verify_python=escape(_file("verify.py").rstrip()),
    verify_node=escape(_file("verify.mjs").rstrip()),
)

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(_SCRIPT)}",
            f"style-src {_hash(_CSS)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "public, max-age=300",
}
