"""What is kept of an attempt: how it ended, the beginning of the answer, headers without credentials."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import urldefrag, urljoin

from domain.core.ports import OutboundError, OutboundResponse
from domain.core.shown_address import shown_address
from domain.providers.charset import read_text
from domain.webhooks.model import Attempt, AttemptOutcome, DeliveryStatus
from domain.webhooks.ports import ClaimedDelivery
from domain.webhooks.retry_policy import RetryDecision

RESPONSE_KEPT_BYTES = 4 * 1024
_HEADERS_KEPT_CHARACTERS = 8 * 1024
_MASK = "********"
_CREDENTIAL_HEADER = re.compile(
    r"auth|cookie|token|secret|password|session|api-?key|credential", re.IGNORECASE
)


def attempt_row(
    claimed: ClaimedDelivery,
    started: datetime,
    response: OutboundResponse | OutboundError,
    decision: RetryDecision,
    *,
    headers: Mapping[str, str],
) -> Attempt:
    """Return the record of an attempt; `headers` are those that were given to the client."""
    return _with_headers(_attempt_row(claimed, started, response, decision), headers, response)


def _attempt_row(
    claimed: ClaimedDelivery,
    started: datetime,
    response: OutboundResponse | OutboundError,
    decision: RetryDecision,
) -> Attempt:
    number, duration_ms = claimed.attempt_number, response.duration_ms
    if isinstance(response, OutboundError):
        outcome = AttemptOutcome.Refused if response.kind == "blocked" else AttemptOutcome.Failed
        error = f"{response.kind}: {response.detail}"
        return Attempt(number, started, duration_ms, outcome, error_message=error)
    status, text = response.status, _text_of(response)
    note = f"{response.flaw}." if response.flaw else None
    if decision.status == DeliveryStatus.Delivered:
        return Attempt(number, started, duration_ms, AttemptOutcome.Delivered, status, text, note)
    why = decision.note or redirect_note(claimed.endpoint.url, response)
    error = " ".join(filter(None, (f"The receiver answered {status}.", why, note)))
    return Attempt(number, started, duration_ms, AttemptOutcome.Failed, status, text, error)


def _with_headers(
    attempt: Attempt, given: Mapping[str, str], response: OutboundResponse | OutboundError
) -> Attempt:
    if isinstance(response, OutboundError):
        return replace(attempt, request_headers=recorded_headers(given))
    return replace(
        attempt,
        request_headers=recorded_headers(response.request_headers or given),
        response_headers=recorded_headers(response.headers),
    )


def recorded_headers(headers: Mapping[str, str]) -> str:
    """Return headers as JSON text, credentials masked; those beyond 8 KiB are left out.

    A signature is no credential: it is good for the body that is stored beside it, and for minutes."""
    kept, left = {}, _HEADERS_KEPT_CHARACTERS
    for name, value in headers.items():
        shown = _MASK if _CREDENTIAL_HEADER.search(name) else value
        left -= len(name) + len(shown)
        if left < 0:
            break
        kept[name] = shown
    return json.dumps(kept)


def _text_of(response: OutboundResponse) -> str:
    """Return the beginning of the body as the headers say that it is written: UTF-8 where they do not."""
    kept, is_cut = response.body[:RESPONSE_KEPT_BYTES], len(response.body) > RESPONSE_KEPT_BYTES
    text = read_text(kept, response.headers.get("content-type", ""), is_cut=is_cut)
    return text.replace("\0", "\ufffd")


def redirect_note(url: str, response: OutboundResponse) -> str | None:
    """Return why a redirect of `url` has failed, and where it pointed, as addresses are shown; else None."""
    if not 300 <= response.status < 400 or response.status == 304:  # RFC 9110 15.4.5: no redirect
        return None
    note = "Redirects are not followed"
    try:
        target = urldefrag(urljoin(url, response.headers.get("location", "").strip())).url
    except ValueError:
        return f"{note}; its Location cannot be read."
    if "location" not in response.headers:
        return f"{note}; it has no Location."
    return f"{note}; it points to {shown_address(target)}"
