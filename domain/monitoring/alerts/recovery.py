"""When an alert ends: by evidence, or because nothing can tell any more. Silence alone is no recovery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertRule,
    AlertStatus,
    ClosedAs,
    Closing,
    Severity,
)

#: Successes in a row that show a recovery.
EVIDENCE: Final = 3
#: After so long without anything that could tell, an alert is closed, and not as recovered.
SILENCE: Final = timedelta(days=7)
#: How long an alert that came back must be quiet.
_FLAPPING_QUIET: Final = timedelta(minutes=60)

_SWITCHED_OFF: Final = Closing(ClosedAs.RuleSwitchedOff, "The rule was switched off.")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an alert's subject.

    - `removed`: the sentence that says how the cause went away, None while it has not; `is_gone`: with its subject, so
      that it cannot come back.
    - `successes`: those in a row, `what` says of what ("health checks in a row succeeded"), `since` is the first.
    - `failed_at`: a failure that was not worth a repeat; successes before it prove nothing.
    - `stands`: the cause is seen to hold, though nothing new happens.
    - `active_at`: when something last happened that could tell."""

    removed: str | None = None
    is_gone: bool = False
    successes: int = 0
    what: str = ""
    since: datetime | None = None
    failed_at: datetime | None = None
    stands: bool = False
    active_at: datetime | None = None


def end_of(rule: AlertRule, alert: Alert, standing: Standing, now: datetime) -> Closing | None:
    """Return how an active alert ends now, None while it goes on.

    - Recovered when its cause is gone, or after three successes in a row, and never before the rule's quiet time.
    - NoTraffic when for seven days nothing happened that could tell, and its cause is not seen to hold."""
    if not rule.is_enabled:
        return _SWITCHED_OFF
    if standing.removed is not None and (standing.is_gone or _is_quiet(rule, alert, alert.last_seen_at, now)):
        return Closing(ClosedAs.Recovered, standing.removed)
    last_bad = max(alert.last_seen_at, standing.failed_at or alert.last_seen_at)
    if standing.successes >= EVIDENCE and _is_quiet(rule, alert, last_bad, now):
        since = f" since {standing.since:%Y-%m-%d %H:%M} UTC" if standing.since else ""
        return Closing(ClosedAs.Recovered, f"{standing.successes:,} {standing.what}{since}.")
    last = max(last_bad, standing.active_at or last_bad)
    if not standing.stands and now - last >= SILENCE:
        reason = (
            f"Nothing has happened since {last:%Y-%m-%d %H:%M} UTC that could tell whether it is over."
            " It is closed as noTraffic, not as recovered."
        )
        return Closing(ClosedAs.NoTraffic, reason)
    return None


def _is_quiet(rule: AlertRule, alert: Alert, since: datetime, now: datetime) -> bool:
    quiet = timedelta(minutes=rule.quiet_minutes)
    return now - since >= (max(quiet, _FLAPPING_QUIET) if alert.reopenings else quiet)


def reopens(rule: AlertRule, ended: Alert, at: datetime) -> bool:
    """Return whether what happens at this moment belongs to the alert that recovered a while ago."""
    if ended.closed_as is not ClosedAs.Recovered or ended.recovered_at is None:
        return False
    return at - ended.recovered_at <= timedelta(minutes=rule.reopens_minutes)


def reopened(ended: Alert, finding: AlertFinding, severity: Severity, details: str) -> Alert:
    """Return the alert as it goes on; who acknowledged it still looks after it."""
    return replace(
        ended,
        status=AlertStatus.Open if ended.acknowledged_at is None else AlertStatus.Acknowledged,
        severity=severity,
        summary=finding.summary,
        details=details,
        occurrences=ended.occurrences + 1,
        last_seen_at=finding.at,
        recovered_at=None,
        recovery=None,
        closed_as=None,
        reopenings=ended.reopenings + 1,
        successes=0,
    )
