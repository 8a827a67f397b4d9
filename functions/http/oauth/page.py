"""The page that ends an OAuth authorisation in the user's browser: self-contained, without scripts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template

import azure.functions as func

from domain.oauth.model import Completion, CompletionStatus

_CSS = (
    "body{margin:0;font:16px/1.5 system-ui,sans-serif;color:#1b1f24;background:#f6f7f9}"
    "main{max-width:34rem;margin:12vh auto;padding:2rem;background:#fff;border-radius:12px;"
    "box-shadow:0 1px 4px #0002}h1{font-size:1.4rem;margin:.2rem 0 .6rem}"
    ".mark{font-size:2rem;margin:0}.good{color:#16794a}.bad{color:#b3261e}"
    "ul{padding-left:1.2rem}li{overflow-wrap:anywhere}.next{color:#57606a}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#14171a}main{background:#1e2226}}"
)
_TEMPLATE = Path(__file__).parents[1] / "static" / "oauth_result.html"
_HASH = b64encode(sha256(_CSS.encode()).digest()).decode()

#: The address contains the code and the state, so the page may load nothing, send nothing and be framed by no one.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class _Look:
    status: int
    title: str
    next: str


_LOOKS = {
    CompletionStatus.Connected: _Look(200, "Connected", "You can close this window."),
    CompletionStatus.Denied: _Look(
        403, "Not connected", "Begin again in the integration's settings if you want to."
    ),
    CompletionStatus.StateRefused: _Look(
        400, "This link cannot be used", "Begin again in the integration's settings."
    ),
    CompletionStatus.ExchangeFailed: _Look(
        502, "Not connected", "Check the OAuth client's settings and begin again."
    ),
    CompletionStatus.NotActivated: _Look(
        409, "Authorised, but not active", "The integration's page shows the reason; activate it from there."
    ),
}


def completed(completion: Completion) -> func.HttpResponse:
    """Return the answer to a callback: a redirect to where the user came from, or a page with the result."""
    if completion.status == CompletionStatus.Connected and completion.redirect_after:
        headers = HEADERS | {"Location": completion.redirect_after}
        return func.HttpResponse(status_code=302, headers=headers)
    look = _LOOKS[completion.status]
    return _page(
        look, completion.detail, completion.scopes, is_good=completion.status == CompletionStatus.Connected
    )


def failed(status: int, detail: str) -> func.HttpResponse:
    """Return the page for a callback whose result is unknown."""
    look = _Look(status, "Something went wrong", "Begin again in a moment; the link just used is spent.")
    return _page(look, detail, (), is_good=False)


def _page(look: _Look, detail: str, scopes: Sequence[str], *, is_good: bool) -> func.HttpResponse:
    granted = "".join(f"<li>{escape(scope)}</li>" for scope in scopes)
    html = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        css=_CSS,
        title=escape(look.title),
        kind="good" if is_good else "bad",
        mark="✓" if is_good else "✕",
        detail=escape(detail),
        scopes=f"<p>Granted:</p><ul>{granted}</ul>" if granted else "",
        next=escape(look.next),
    )
    return func.HttpResponse(html, status_code=look.status, headers=HEADERS, mimetype="text/html")
