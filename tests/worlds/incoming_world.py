"""Active integrations for tests of incoming webhooks, and requests as vendors' own libraries sign them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from domain.integrations.configuration import accept
from domain.integrations.credential_store import CredentialStore
from domain.integrations.model import Integration, IntegrationStatus
from infra.app.hub import Hub

STRIPE_SECRET = "whsec_" + "a1B2" * 8
STRIPE = {"apiKey": "sk_test_4eC39HqLyjWDarjtT1zdp7dc", "webhookSecret": STRIPE_SECRET}


def seed(
    hub: Hub,
    *,
    tenant: UUID,
    user: UUID,
    provider: str = "Stripe",
    configuration: Mapping[str, Any] = STRIPE,
    **changes: Any,
) -> Integration:
    """An active integration, stored as the product stores it, without asking the provider."""
    adapter = hub.catalogue.get(provider)
    split = accept(adapter.profile.configuration, configuration)
    integration_id, credential_store, now = hub.ids.new(), hub.use(CredentialStore), hub.clock.now()
    integration = Integration(
        integration_id=integration_id,
        tenant_id=tenant,
        name=f"{provider} {integration_id}",
        integration_type=adapter.profile.integration_type,
        provider=provider,
        status=IntegrationStatus.Active,
        sealed_configuration=credential_store.seal(integration_id, split.plain_text()),
        secret_name=credential_store.put(integration_id, split),
        created_at=now,
        created_by=user,
        validated_at=now,
    )
    integration = replace(integration, **changes)
    with hub.transactions.write() as tx:
        tx.users.see(tenant, user, "A User", now)
        tx.integrations.add(tenant, integration)
        tx.commit()
    return integration


@dataclass(frozen=True)
class Signed:
    """A request as a provider sends it."""

    body: bytes
    headers: dict[str, str]


def stripe_event(event_id: str = "evt_1", **data: Any) -> bytes:
    event = {
        "id": event_id,
        "object": "event",
        "type": "charge.succeeded",
        "created": 1_772_355_600,
        "data": {"object": {"id": "ch_1", "object": "charge", **data}},
    }
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def signed_by_stripe(body: bytes, now: datetime, secret: str = STRIPE_SECRET) -> Signed:
    import stripe

    timestamp = int(now.timestamp())
    signature = stripe.WebhookSignature._compute_signature(f"{timestamp}.{body.decode()}", secret)
    headers = {"stripe-signature": f"t={timestamp},v1={signature}", "content-type": "application/json"}
    return Signed(body, headers)


def signed_by_twilio(url: str, form: Mapping[str, str], token: str) -> Signed:
    from twilio.request_validator import RequestValidator

    signature = RequestValidator(token).compute_signature(url, dict(form))
    headers = {
        "x-twilio-signature": signature,
        "content-type": "application/x-www-form-urlencoded",
    }
    return Signed(urlencode(form).encode(), headers)


def sendgrid_keys() -> tuple[str, Callable[[bytes, datetime], Signed]]:
    """SendGrid's library only verifies; the key pair and signature are made as its documentation says, and each
    request is checked by the library before it is used."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from sendgrid.helpers.eventwebhook import EventWebhook

    key = ec.generate_private_key(ec.SECP256R1())
    public = base64.b64encode(
        key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).decode()

    def sign(body: bytes, now: datetime) -> Signed:
        timestamp = str(int(now.timestamp()))
        made = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        signature = base64.b64encode(made).decode()
        verifier = EventWebhook(public)
        assert verifier.verify_signature(body.decode(), signature, timestamp)
        headers = {
            "x-twilio-email-event-webhook-signature": signature,
            "x-twilio-email-event-webhook-timestamp": timestamp,
            "content-type": "application/json",
        }
        return Signed(body, headers)

    return public, sign


def signed_by_slack(body: bytes, now: datetime, secret: str) -> Signed:
    from slack_sdk.signature import SignatureVerifier

    timestamp = str(int(now.timestamp()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=timestamp, body=body)
    assert signature is not None
    headers = {
        "x-slack-request-timestamp": timestamp,
        "x-slack-signature": signature,
        "content-type": "application/json",
    }
    return Signed(body, headers)


def signed_by_standard_webhooks(body: bytes, now: datetime, secret: str, message_id: str = "msg_1") -> Signed:
    from standardwebhooks import Webhook

    signature = Webhook(secret).sign(message_id, now, body.decode())
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
        "content-type": "application/json",
    }
    return Signed(body, headers)


def signed_by_github(body: bytes, secret: str, delivery: str | None = None) -> Signed:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "x-hub-signature-256": f"sha256={digest}",
        "x-github-delivery": delivery or str(uuid4()),
        "x-github-event": "push",
        "content-type": "application/json",
    }
    return Signed(body, headers)


def changed(value: bytes, index: int) -> bytes:
    """The value with one byte changed."""
    return value[:index] + bytes([value[index] ^ 1]) + value[index + 1 :]
