"""Which types of events are reserved."""

from __future__ import annotations

import re

import pytest

from domain.incoming.rules import event_type
from domain.journal.event_types import HubEvent, prefix_of, reserved_types
from domain.journal.events import EVENT_ID_PATTERN, derived_id
from domain.webhooks.model import TEST_EVENT, VERIFICATION_EVENT
from infra.providers.registry import all_providers

RESERVED = reserved_types(["Stripe", "AzureBlob", "iCal", "S3", "REST"])


@pytest.mark.parametrize(
    ("type_", "entry"),
    [
        ("WebhookDisabled", "WebhookDisabled"),
        ("webhookDISABLED", "WebhookDisabled"),
        ("WebhookDisabled.", "WebhookDisabled"),
        ("WebhookDisabled.v2", "WebhookDisabled"),
        ("WebhookDisabled-", "WebhookDisabled"),
        ("webhook.test", "webhook."),
        ("webhook", "webhook."),
        ("Webhook..x", "webhook."),
        ("stripe.charge.succeeded", "stripe."),
        ("STRIPE_.charge", "stripe."),
        ("stripe", "stripe."),
        ("azureBlob.x", "azureblob."),
        ("s3.x", "s3."),
        ("rest.order", "rest."),
        ("connector.acme.order", "connector."),
        ("BookingConfirmed", None),
        ("stripes.charge", None),
        ("my.stripe.charge", None),
        ("rest_api.called", None),
        ("resting.place", None),
        ("WebhookDisabledByUs", None),
        ("webhooks.created", None),
        ("s.3", None),
    ],
)
def test_what_is_before_the_first_dot_decides(type_: str, entry: str | None) -> None:
    assert RESERVED.reserving(type_) == entry


def test_whatever_a_provider_sends_is_raised_under_a_reserved_type() -> None:
    reserved = reserved_types(all_providers())
    for provider in all_providers():
        raised = event_type(provider, "charge.succeeded")
        assert reserved.reserving(raised) == f"{prefix_of(provider)}.", provider
        assert f"{prefix_of(provider)}." in reserved.prefixes


def test_whatever_the_hub_raises_or_posts_is_reserved() -> None:
    for type_ in (*HubEvent, TEST_EVENT, VERIFICATION_EVENT):
        assert RESERVED.reserving(type_) is not None
    assert set(RESERVED.names) == set(HubEvent)


def test_nobody_can_give_an_id_that_the_hub_derives() -> None:
    assert re.fullmatch(EVENT_ID_PATTERN, derived_id("a.received")) is None
