"""The dashboard as one self-contained page."""

from __future__ import annotations

from string import Template
from urllib.parse import urlsplit

from functions.http.kit.page import page_headers, static
from infra.app.settings import Settings

_CSS = static("theme.css", "dashboard.css")
SCRIPT = static(
    "elements.js", "formats.js", "charts.js", "client.js", "panels.js", "attention.js", "dashboard.js"
)
PAGE = Template(static("dashboard.html")).substitute(css=_CSS, script=SCRIPT)


def headers(settings: Settings) -> dict[str, str]:
    """Return the headers of the page; it may connect to this address and to the realtime service."""
    return page_headers(SCRIPT, _CSS, ["'self'", *_realtime_origins(settings)])


def _realtime_origins(settings: Settings) -> list[str]:
    connection = settings.signalr_connection
    named = dict(
        part.split("=", 1)
        for part in (connection.get_secret_value() if connection else "").split(";")
        if "=" in part
    )
    address = settings.signalr_endpoint or named.get("Endpoint") or settings.public_url
    target = urlsplit(address)
    socket = "wss" if target.scheme == "https" else "ws"
    return [f"{target.scheme}://{target.netloc}", f"{socket}://{target.netloc}"]
