"""The alert rules: when an alert is raised, when it is over, what people read."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.journal.occurrences import PLATFORM, Occurrence
from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertKind,
    RuleSettings,
    Severity,
    Sink,
    Transition,
)
from domain.monitoring.alerts.ports import HourRate
from domain.monitoring.alerts.rules import (
    RULES,
    Rate,
    effective,
    finding_of,
    is_low_again,
    is_too_high,
    last_hour,
    message_about,
    raises,
    send_again_at,
)

TENANT, SUBJECT = UUID(int=1), UUID(int=2)
HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAILURES = RULES[AlertKind.WebhookFailureRate]


@pytest.mark.parametrize(
    ("total", "failed", "high", "low"),
    [
        (0, 0, False, False),
        (9, 9, False, False),  # too few to tell either
        (10, 2, False, False),  # 20% is not more than 20%
        (100, 21, True, False),
        (100, 20, False, False),
        (100, 11, False, False),  # hysteresis
        (100, 10, False, True),
        (10, 10, True, False),
    ],
)
def test_more_than_a_fifth_is_too_high_and_a_tenth_is_low_again__12_3(
    *, total: int, failed: int, high: bool, low: bool
) -> None:
    assert is_too_high(FAILURES, Rate(total, failed)) is high
    assert is_low_again(FAILURES, Rate(total, failed)) is low


def test_a_rule_switched_off_raises_nothing() -> None:
    off = effective(AlertKind.WebhookFailureRate, RuleSettings(is_enabled=False))
    assert not raises(off, AlertFinding(TENANT, off.kind, "x", "x", HOUR, volume=100))


@pytest.mark.parametrize(
    ("minute", "total", "failed"), [(0, 70, 40), (15, 55, 32.5), (30, 40, 25), (59.999, 10, 10)]
)
def test_the_last_hour_slides_over_two_hours(minute: float, total: float, failed: float) -> None:
    hours = [
        HourRate(TENANT, SUBJECT, HOUR, 10, 10),
        HourRate(TENANT, SUBJECT, HOUR - timedelta(hours=1), 60, 30),
        HourRate(TENANT, SUBJECT, HOUR - timedelta(hours=2), 1000, 1000),
    ]
    rate = last_hour(hours, HOUR + timedelta(minutes=minute))
    assert rate.total == pytest.approx(total, abs=0.01)
    assert rate.failed == pytest.approx(failed, abs=0.01)


def test_a_tenant_changes_what_it_names_and_keeps_the_rest() -> None:
    changed = effective(
        AlertKind.WebhookFailureRate, RuleSettings(threshold=0.5, severity=Severity.Critical, version=3)
    )
    assert (changed.threshold, changed.severity, changed.version) == (0.5, Severity.Critical, 3)
    assert replace(changed, threshold=0.2, severity=Severity.Warning, version=0) == FAILURES
    assert effective(AlertKind.SyncFailed, None) == RULES[AlertKind.SyncFailed]


@pytest.mark.parametrize(("volume", "raised"), [(None, True), (9, False), (10, True)])
def test_a_few_refusals_are_no_violation(volume: int | None, raised: bool) -> None:
    rule = RULES[AlertKind.SecurityViolation]
    assert raises(rule, AlertFinding(TENANT, rule.kind, "x", "x", HOUR, volume=volume)) is raised


INTEGRATION = {"integrationId": str(SUBJECT), "name": "Shop", "provider": "Stripe", "detail": "401"}
SAID = {"subject": "s", "detail": "d"}


@pytest.mark.parametrize(
    ("source", "data", "kind", "subject", "severity", "tenant"),
    [
        ("integration-suspended", INTEGRATION, "integration-health", str(SUBJECT), Severity.Critical, TENANT),
        ("integration-unhealthy", INTEGRATION, "integration-health", str(SUBJECT), Severity.Critical, TENANT),
        ("integration-degraded", INTEGRATION, "integration-health", str(SUBJECT), Severity.Warning, TENANT),
        ("sync-failed", INTEGRATION, "sync-failed", str(SUBJECT), None, TENANT),
        (
            "webhook-disabled",
            {"webhookId": str(SUBJECT), "reason": "410"},
            "webhook-disabled",
            str(SUBJECT),
            None,
            TENANT,
        ),
        ("key-anomaly", SAID, "key-anomaly", "s", None, TENANT),
        ("anomaly", SAID, "anomaly", "s", None, TENANT),
        ("security-violation", {**SAID, "count": 12}, "security-violation", "s", None, TENANT),
        ("rate-limit-store-down", SAID, "rate-limit-store-down", "s", None, PLATFORM),
        ("unreadable-message", SAID, "unreadable-message", "s", None, PLATFORM),
    ],
)
def test_what_an_occurrence_means(
    *, source: str, data: dict[str, Any], kind: str, subject: str, severity: Severity | None, tenant: UUID
) -> None:
    found = finding_of(Occurrence(UUID(int=9), TENANT, source, json.dumps(data), HOUR))
    assert found is not None
    assert (found.kind, found.subject, found.severity) == (kind, subject, severity)
    assert (found.tenant_id, found.at, found.volume) == (tenant, HOUR, data.get("count"))


@pytest.mark.parametrize(
    ("source", "data", "summary"),
    [
        (
            "sync-failed",
            {**INTEGRATION, "detail": "Out of order."},
            "Shop: the synchronisation failed. Out of order.",
        ),
        ("sync-failed", {"integrationId": str(SUBJECT), "detail": "x"}, "The synchronisation failed. x"),
        (
            "webhook-disabled",
            {"webhookId": str(SUBJECT), "url": "https://shop.example/hook", "reason": "It answered 410."},
            "shop.example was disabled. It answered 410.",
        ),
        ("webhook-disabled", {"webhookId": str(SUBJECT), "url": 7, "reason": "410"}, "Disabled. 410"),
        (
            "webhook-disabled",
            {"webhookId": str(SUBJECT), "url": "http://[", "reason": "410"},
            "Disabled. 410",
        ),
    ],
)
def test_a_summary_says_what_it_is_about(source: str, data: dict[str, Any], summary: str) -> None:
    """Of a message written before there was a name, and of an event that only bears the name, what is there."""
    found = finding_of(Occurrence(UUID(int=9), TENANT, source, json.dumps(data), HOUR))
    assert found is not None
    assert found.summary == summary


def test_a_summary_and_a_subject_are_cut_to_what_their_columns_take() -> None:
    face = "\N{GRINNING FACE}"
    data = {"subject": face * 51, "detail": "x" + face * 200}
    found = finding_of(Occurrence(UUID(int=9), TENANT, "security-violation", json.dumps(data), HOUR))
    assert found is not None
    assert found.subject == face * 50 and found.summary == "x" + face * 199


@pytest.mark.parametrize("source", ["integration-recovered", "audit-intact"])
def test_a_recovery_is_no_finding(source: str) -> None:
    assert finding_of(Occurrence(UUID(int=9), TENANT, source, "{}", HOUR)) is None


@pytest.mark.parametrize("data", ["[]", "{}", '{"webhookId":"no guid","reason":""}', "no JSON"])
def test_what_is_not_as_promised_is_refused(data: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        finding_of(Occurrence(UUID(int=9), TENANT, "webhook-disabled", data, HOUR))


@pytest.mark.parametrize(
    ("failed", "kind", "minutes"),
    [
        (1, "unavailable", 1),
        (2, "rate_limited", 5),
        (3, None, 15),
        (4, "unauthorized", 60),
        (5, "unavailable", None),
        (1, "rejected", None),
        (1, "forbidden", None),
        (1, "malformed", None),
    ],
)
def test_when_a_message_is_tried_again(failed: int, kind: Any, minutes: int | None) -> None:
    due = None if minutes is None else HOUR + timedelta(minutes=minutes)
    assert send_again_at(failed, kind, HOUR) == due


def test_a_message_says_it_all_in_its_subject_which_is_short() -> None:
    alert = Alert(
        UUID(int=5),
        TENANT,
        AlertKind.SyncFailed,
        str(SUBJECT),
        Severity.Warning,
        "Failed:\r\nBcc: x " + "y" * 500,
        "{}",
        HOUR,
        HOUR,
        recovery="3 synchronisations in a row succeeded.",
    )
    raised = message_about(alert, Transition.Raised, "a@b.example")
    assert raised.subject.startswith("[Warning] A synchronisation failed: Failed: Bcc: x yyy")
    assert len(raised.subject) <= 150
    assert "\n" not in raised.subject
    assert "\r" not in raised.subject
    assert "docs/alerts.md#sync-failed" in raised.text
    assert str(UUID(int=5)) in raised.text
    recovered = message_about(alert, Transition.Recovered, "a@b.example")
    assert recovered.subject.startswith("[Recovered]")
    assert "3 synchronisations in a row succeeded." in recovered.text
    closed = message_about(alert, Transition.Closed, "a@b.example")
    assert closed.subject.startswith("[Closed]")
    again = message_about(replace(alert, reopenings=2), Transition.Raised, "a@b.example")
    assert "It came back 2 times." in again.text
    assert "It came back" not in raised.text


def test_sinks_come_from_the_tenant_alone() -> None:
    sink = Sink(SUBJECT, ("a@b.example",))
    assert all(not rule.sinks for rule in RULES.values())
    assert effective(AlertKind.SyncFailed, RuleSettings(sinks=(sink,))).sinks == (sink,)
