"""Creating, changing, activating and disconnecting integrations."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    ProviderUnavailable,
    RuleViolation,
    Unavailable,
    ValidationFailed,
)
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.core.transaction import counted_effects
from domain.integrations.commands import (
    ActivateIntegration,
    RotateCredentials,
    SuspendIntegration,
    TestIntegration,
)
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.health_history import IntegrationHistory
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus, SuspensionCause
from domain.integrations.ports import IntegrationFilter
from domain.integrations.service import IntegrationNotifier, IntegrationService, IntegrationTester
from domain.providers.contract import IntegrationType, OutgoingMessage, ProviderFailure
from tests.worlds.builders import TENANT, USER
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, Gate, IntegrationWorld

S = IntegrationStatus


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntegrationWorld]:
    made = IntegrationWorld(tmp_path)
    yield made
    made.close()


# Creating


async def test_a_payment_gateway_is_validated_tested_and_active__UC_IM_01(world: IntegrationWorld) -> None:
    created = await world.create(configuration={"webhookSecret": "whsec_planted"})
    stored = world.now(created)
    assert (stored.status, stored.reason, stored.is_enabled) == (S.Active, None, True)
    assert world.stripe.calls == ["validate", "test"]
    assert created.validation is not None and [step.name for step in created.validation.steps] == [
        "charge",
        "refund",
    ]
    assert world.raised("PaymentGatewayConnected") == [
        {"integrationId": str(stored.integration_id), "provider": "Stripe", "configuredBy": str(USER)}
    ]


async def test_the_configuration_is_sealed_and_the_secrets_are_in_the_store_only__BR_IM_06_07(
    world: IntegrationWorld,
) -> None:
    created = await world.create(configuration={"webhookSecret": "whsec_planted", "currency": "EUR"})
    (name,) = world.secrets.credentials()
    assert created.integration.integration_id.hex in name
    assert json.loads(world.secrets.values[name]) == {
        "/apiKey": GOOD_KEY,
        "/webhookSecret": "whsec_planted",
    }
    sealed = world.now(created).sealed_configuration
    assert "EUR" not in sealed and "whsec" not in sealed
    assert world.hub.use(IntegrationService).shown_configuration(
        world.principal, created.integration
    ).configuration == {
        "apiKey": "********",
        "webhookSecret": "********",
        "currency": "EUR",
        "baseUrl": "https://vendor.example",
    }


async def test_refused_credentials_leave_a_draft_with_the_reason(world: IntegrationWorld) -> None:
    created = await world.create(key="sk_wrong")
    assert (created.integration.status, created.integration.reason) == (S.Draft, "No such key.")
    assert created.validation is not None and created.validation.stage == "credentials"
    assert world.raised("PaymentGatewayConnected") == []


@pytest.mark.parametrize("kind", ["unavailable", "rate_limited"])
async def test_a_provider_that_does_not_answer_leaves_it_pending(world: IntegrationWorld, kind: str) -> None:
    world.stripe.failure = ProviderFailure(kind, "Not now.")  # type: ignore[arg-type]
    created = await world.create()
    assert created.integration.status == S.PendingValidation
    world.stripe.failure = None
    assert (await world.activate(created.integration)).integration.status == S.Active


async def test_a_test_that_could_charge_nothing_waits_with_the_reason(world: IntegrationWorld) -> None:
    world.stripe.test_failure = ProviderFailure("rejected", "No such currency.", nothing_charged=True)
    created = await world.create()
    assert created.integration.status == S.PendingValidation
    assert "No such currency." in str(created.integration.reason)
    assert world.alerts() == []


async def test_a_failed_test_charge_is_an_error_that_a_person_reviews__BR_IM_05(
    world: IntegrationWorld,
) -> None:
    world.stripe.test_failure = ProviderFailure("unavailable", "The refund was not answered.")
    created = await world.create()
    assert created.integration.status == S.Error
    assert [alert["kind"] for alert in world.alerts()] == ["integration-error"]
    with pytest.raises(RuleViolation) as refused:
        await world.activate(created.integration)
    assert refused.value.code == "BR-IM-05"


async def test_live_credentials_are_never_charged_unasked(world: IntegrationWorld) -> None:
    world.stripe.test_mode = False
    assert (await world.create()).integration.status == S.Active
    assert world.stripe.calls == ["validate"]


@pytest.mark.parametrize(
    ("provider", "recipient", "email", "sent_to"),
    [
        ("SendGrid", "a@b.example", None, "a@b.example"),
        ("SendGrid", "a@b.example", "admin@b.example", "a@b.example"),
        ("SendGrid", None, "admin@b.example", "admin@b.example"),
        ("Twilio", "+15558675310", "admin@b.example", "+15558675310"),
    ],
)
async def test_a_test_message_is_sent_to_the_one_named_or_else_to_the_caller__UC_IM_02(
    world: IntegrationWorld, provider: str, recipient: str | None, email: str | None, sent_to: str
) -> None:
    vendor = {"SendGrid": world.mail, "Twilio": world.sms}[provider]
    caller = replace(world.principal, email=email)
    created = await world.create(provider, owner=caller, testOptions={"recipient": recipient})
    assert created.integration.status == S.Active
    assert vendor.calls == ["validate", "test"]
    assert [(options.recipient, options.sandbox) for options in vendor.tested] == [(sent_to, False)]
    connected = {"SendGrid": "EmailServiceConnected", "Twilio": "SMSServiceConnected"}[provider]
    assert len(world.raised(connected)) == 1


@pytest.mark.parametrize(
    ("provider", "email", "form"),
    [
        ("SendGrid", None, "an e-mail address"),
        ("Twilio", None, "a phone number in E.164"),
        ("Twilio", "admin@b.example", "a phone number in E.164"),  # no SMS reaches it
    ],
)
async def test_without_anybody_to_get_it_the_integration_waits_for_a_recipient__UC_IM_02(
    world: IntegrationWorld, provider: str, email: str | None, form: str
) -> None:
    vendor = {"SendGrid": world.mail, "Twilio": world.sms}[provider]
    caller = replace(world.principal, email=email)
    created = await world.create(provider, owner=caller)
    stored, validation = world.now(created), created.validation
    assert validation is not None
    assert (validation.cause, validation.stage, validation.succeeded) == ("recipient-needed", "test", False)
    assert (stored.status, vendor.calls) == (S.PendingValidation, ["validate"])
    assert stored.reason is not None
    assert stored.reason.startswith("recipient-needed: ")
    assert form in stored.reason
    recipient = {"SendGrid": "a@b.example", "Twilio": "+15558675310"}[provider]
    command = ActivateIntegration.model_validate({"testOptions": {"recipient": recipient}})
    active = await world.hub.use(Lifecycle).activate(world.principal, stored.integration_id, command)
    assert active.integration.status == S.Active
    assert vendor.tested[-1].recipient == recipient


async def test_a_caller_may_do_without_the_test_message(world: IntegrationWorld) -> None:
    created = await world.create("Twilio", test=False)
    assert created.integration.status == S.Active
    assert world.sms.calls == ["validate"]


@pytest.mark.parametrize(
    ("provider", "recipient"),
    [
        ("SendGrid", "+15558675310"),
        ("SendGrid", "a@b.example, c@d.example"),
        ("Twilio", "a@b.example"),
        ("Twilio", "0049151"),
    ],
)
async def test_a_recipient_that_such_a_message_cannot_reach_is_refused_before_anything_is_stored(
    world: IntegrationWorld, provider: str, recipient: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await world.create(provider, testOptions={"recipient": recipient})
    assert [error.pointer for error in refused.value.errors] == ["/testOptions/recipient"]
    assert world.rows("SELECT 1 FROM Integrations") == []
    created = await world.create(provider, activate=False)
    id_ = created.integration.integration_id
    command = ActivateIntegration.model_validate({"testOptions": {"recipient": recipient}})
    with pytest.raises(ValidationFailed):
        await world.hub.use(Lifecycle).activate(world.principal, id_, command)
    with pytest.raises(ValidationFailed) as tested:
        test = TestIntegration.model_validate({"recipient": recipient})
        await world.hub.use(IntegrationTester).test(world.principal, id_, test)
    assert [error.pointer for error in tested.value.errors] == ["/recipient"]
    assert world.now(created).status == S.Draft


async def test_in_the_sandbox_the_answer_says_that_nothing_was_delivered(world: IntegrationWorld) -> None:
    world.mail.delivered = False
    options = {"recipient": "a@b.example", "sandbox": True}
    created = await world.create("SendGrid", testOptions=options)
    assert world.mail.tested[-1].sandbox is True
    assert created.validation is not None
    assert created.validation.delivered is False
    assert created.validation.detail.endswith("nothing was delivered.")
    world.mail.delivered = True
    test = TestIntegration(recipient="a@b.example")
    result = await world.hub.use(IntegrationTester).test(
        world.principal, created.integration.integration_id, test
    )
    assert (result.validation.delivered, world.mail.tested[-1].sandbox) == (True, False)
    assert result.validation.detail == "The credentials were accepted and the test message was sent."


async def test_a_message_that_the_vendor_refuses_leaves_a_draft_with_its_words(
    world: IntegrationWorld,
) -> None:
    words = "The provider answered 403: The from address does not match a verified Sender Identity."
    world.mail.test_failure = ProviderFailure("forbidden", words, status=403)
    created = await world.create("SendGrid", testOptions={"recipient": "a@b.example"})
    stored = world.now(created)
    assert (stored.status, stored.reason) == (S.Draft, f"The test failed: {words}")


async def test_an_oauth_provider_waits_for_its_authorisation__UC_IM_03(world: IntegrationWorld) -> None:
    created = await world.create("Google")
    assert created.integration.status == S.PendingValidation
    assert (
        created.validation is not None
        and created.validation.stage == "authorization"
        and world.google.calls == []
    )
    world.tokens[created.integration.integration_id] = "token"
    active = (await world.activate(created.integration)).integration
    assert active.status == S.Active
    about = {"integrationId": str(active.integration_id), "calendarType": "Google"}
    assert world.raised("CalendarSyncEnabled") == [{**about, "enabledBy": str(USER)}]
    await world.put(active, isEnabled=False)
    assert world.raised("CalendarSyncDisabled") == [{**about, "disabledBy": str(USER)}]


async def test_a_draft_asks_nobody(world: IntegrationWorld) -> None:
    created = await world.create(activate=False)
    assert created.integration.status == S.Draft and world.stripe.calls == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"provider": "Nobody"}, "/provider"),
        ({"integrationType": "CRM"}, "/integrationType"),
        ({"configuration": {}}, "/configuration/apiKey"),
        ({"configuration": {"apiKey": "good", "baseUrl": "http://x.example"}}, "/configuration/baseUrl"),
    ],
)
async def test_a_wrong_request_is_refused_where_it_is_wrong(
    world: IntegrationWorld, fields: dict[str, object], pointer: str
) -> None:
    from domain.integrations.commands import CreateIntegration

    body = {
        "name": "n",
        "integrationType": "PaymentGateway",
        "provider": "Stripe",
        "configuration": {"apiKey": GOOD_KEY},
        **fields,
    }
    with pytest.raises(ValidationFailed) as refused:
        await world.hub.use(IntegrationService).create(
            world.principal, CreateIntegration.model_validate_json(json.dumps(body))
        )
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert world.secrets.credentials() == []


async def test_a_type_that_is_switched_off_is_refused__16_2(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path, disabled=(IntegrationType.PaymentGateway,))
    with pytest.raises(Conflict) as refused:
        await world.create()
    assert refused.value.code == "integration-type-disabled"
    assert (await world.create("REST")).integration.status == S.Active
    world.close()


async def test_nobody_asks_the_provider_of_a_type_that_is_switched_off_later__16_2(tmp_path: Path) -> None:
    off: set[IntegrationType] = set()
    world = IntegrationWorld(tmp_path, disabled=off)
    active = (await world.create()).integration
    suspended = (await world.create("REST")).integration
    suspend = SuspendIntegration()
    world.hub.use(Lifecycle).suspend(world.principal, suspended.integration_id, suspend)
    someone = {"recipient": "ops@example.com"}
    failing = (await world.create("SendGrid", name="Mail", testOptions=someone)).integration
    world.stripe.calls.clear(), world.api.calls.clear(), world.mail.calls.clear()
    off |= set(IntegrationType)
    credentials = RotateCredentials(credentials={"apiKey": OTHER_KEY})
    message = OutgoingMessage("ops@example.com", "Subject", "Text")
    for refused in (
        world.activate(suspended),
        world.put(active, configuration={"apiKey": OTHER_KEY}),
        world.hub.use(CredentialService).rotate(world.principal, active.integration_id, credentials),
        world.hub.use(IntegrationTester).test(world.principal, active.integration_id, TestIntegration()),
    ):
        with pytest.raises(Conflict) as conflict:
            await refused
        assert conflict.value.code == "integration-type-disabled"
    with pytest.raises(ProviderFailure, match="switched off"):
        await world.hub.use(IntegrationNotifier).send(failing.tenant_id, failing.integration_id, message)
    await world.check()
    assert world.stripe.calls == world.api.calls == world.mail.calls == []
    assert (await world.put(active, name="Renamed")).integration.name == "Renamed"
    world.close()


async def test_an_administrator_without_the_managing_permission_may_create(world: IntegrationWorld) -> None:
    admin = Principal(TENANT, USER, frozenset({"integration:admin"}))
    assert (await world.create(owner=admin)).integration.status == S.Active
    manager = Principal(TENANT, USER, frozenset({"integration:manage"}))
    with pytest.raises(Forbidden):
        await world.create(owner=manager)


# BR-IM-01


async def test_of_fifty_concurrent_activations_exactly_one_wins__BR_IM_01(world: IntegrationWorld) -> None:
    drafts = [(await world.create(activate=False, name=f"p{n}")).integration for n in range(50)]
    world.stripe.gate = Gate()
    running = [asyncio.create_task(world.activate(draft)) for draft in drafts]
    await world.stripe.gate.reached_by(50)
    world.stripe.gate.open()
    results = await asyncio.gather(*running, return_exceptions=True)
    refused = [result for result in results if isinstance(result, RuleViolation)]
    assert len(refused) == 49 and {refusal.code for refusal in refused} == {"BR-IM-01"}
    assert [world.now(draft).status for draft in drafts].count(S.Active) == 1
    assert len(world.raised("PaymentGatewayConnected")) == 1


async def test_a_reactivation_validates_again_and_tests_where_it_is_asked_to(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    lifecycle = world.hub.use(Lifecycle)

    async def reactivated(**fields: Any) -> tuple[S, list[str]]:
        lifecycle.suspend(world.principal, created.integration_id, SuspendIntegration())
        world.stripe.calls.clear()
        command = ActivateIntegration.model_validate(fields)
        result = await lifecycle.activate(world.principal, created.integration_id, command)
        return result.integration.status, world.stripe.calls

    assert await reactivated() == (S.Active, ["validate"])
    assert await reactivated(test=False) == (S.Active, ["validate"])
    assert await reactivated(test=True) == (S.Active, ["validate", "test"])
    world.stripe.test_failure = ProviderFailure("rejected", "Amount too small.")
    assert await reactivated(test=True) == (S.Suspended, ["validate", "test"])
    assert world.now(created).reason == "The test failed: Amount too small."
    assert (await world.activate(created)).integration.status == S.Active
    world.stripe.accepts = set()
    assert await reactivated(test=True) == (S.Suspended, ["validate"])


async def test_a_reactivation_into_a_taken_slot_is_refused__BR_IM_01(world: IntegrationWorld) -> None:
    first = (await world.create()).integration
    lifecycle = world.hub.use(Lifecycle)
    lifecycle.suspend(world.principal, first.integration_id, SuspendIntegration())
    second = (await world.create(name="Other")).integration
    world.stripe.calls.clear()
    with pytest.raises(RuleViolation) as refused:
        await world.activate(first)
    assert (refused.value.code, world.stripe.calls) == ("BR-IM-01", [])
    # By new credentials, which end a suspension for the old ones, neither.
    lifecycle.suspend(world.principal, second.integration_id, SuspendIntegration())
    await world.activate(first)
    world.stripe.accepts = set()
    await world.check()
    assert world.now(first).suspension == SuspensionCause.Authentication
    world.stripe.accepts = {GOOD_KEY, OTHER_KEY}
    await world.activate(second)
    credentials = RotateCredentials(credentials={"apiKey": OTHER_KEY})
    with pytest.raises(RuleViolation) as refused:
        await world.hub.use(CredentialService).rotate(world.principal, first.integration_id, credentials)
    assert refused.value.code == "BR-IM-01" and world.now(first).status == S.Suspended


@pytest.mark.parametrize("path", ["create", "put", "rotate"])
async def test_an_address_that_is_not_https_is_refused_whichever_way_it_comes__7_1(
    world: IntegrationWorld, path: str
) -> None:
    plain = {"baseUrl": "http://vendor.example"}
    created = (await world.create("REST")).integration
    credentials = RotateCredentials(credentials={"baseUrl": plain["baseUrl"]})
    change = {
        "create": lambda: world.create("REST", name="Other", configuration=plain),
        "put": lambda: world.put(created, configuration={"apiKey": GOOD_KEY, **plain}),
        "rotate": lambda: world.hub.use(CredentialService).rotate(
            world.principal, created.integration_id, credentials
        ),
    }[path]
    with pytest.raises(ValidationFailed) as refused:
        await change()
    assert refused.value.errors[0].pointer.endswith("/baseUrl")
    assert world.now(created) == created


async def test_a_second_one_is_refused_before_anything_is_stored__BR_IM_01(world: IntegrationWorld) -> None:
    await world.create()
    with pytest.raises(RuleViolation) as refused:
        await world.create(name="Second", key=OTHER_KEY)
    assert refused.value.code == "BR-IM-01" and len(world.secrets.credentials()) == 1
    assert len(world.rows("SELECT 1 FROM Integrations")) == 1


async def test_two_created_at_once_leave_one_and_nothing_visible_of_the_other(
    world: IntegrationWorld,
) -> None:
    world.stripe.gate = Gate()
    running = [asyncio.create_task(world.create(name=f"p{n}")) for n in range(2)]
    await world.stripe.gate.reached_by(2)
    world.stripe.gate.open()
    results = await asyncio.gather(*running, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LifecycleResult", "RuleViolation"]
    listed = world.hub.use(IntegrationService).page(world.principal, IntegrationFilter(), PageRequest())
    assert [integration.status for integration in listed.items] == [S.Active]
    assert len(world.secrets.credentials()) == 1


async def test_suspending_frees_the_slot_and_other_tenants_have_their_own(world: IntegrationWorld) -> None:
    first = await world.create()
    assert (await world.create(owner=world.other)).integration.status == S.Active
    world.hub.use(Lifecycle).suspend(world.principal, first.integration.integration_id, SuspendIntegration())
    second = await world.create(name="Second")
    assert second.integration.status == S.Active
    with pytest.raises(RuleViolation):
        await world.activate(first.integration)


# Changing


async def test_a_put_without_the_secret_keeps_it(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    before = world.secrets.credentials()
    changed = (await world.put(created, configuration={"currency": "EUR"})).integration
    assert changed.status == S.Active and world.secrets.credentials() == before
    assert world.hub.use(CredentialStore).load(changed).secrets == {"/apiKey": GOOD_KEY}


async def test_an_active_one_keeps_its_configuration_when_the_provider_refuses_the_new__BR_IM_02(
    world: IntegrationWorld,
) -> None:
    created = (await world.create()).integration
    with pytest.raises(RuleViolation) as refused:
        await world.put(created, configuration={"apiKey": "sk_wrong"})
    assert refused.value.code == "BR-IM-02"
    assert world.now(created) == world.now(created) and world.now(created).version == created.version
    assert world.hub.use(CredentialStore).load(world.now(created)).secrets["/apiKey"] == GOOD_KEY
    world.stripe.failure = ProviderFailure("unavailable", "Down.")
    with pytest.raises(ProviderUnavailable):
        await world.put(created, configuration={"apiKey": OTHER_KEY})
    assert len(world.secrets.credentials()) == 1


async def test_rotated_credentials_replace_the_old_which_are_destroyed(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    command = RotateCredentials(credentials={"apiKey": OTHER_KEY})
    rotated = await world.hub.use(CredentialService).rotate(world.principal, created.integration_id, command)
    assert world.secrets.credentials() == [rotated.integration.secret_name]
    assert GOOD_KEY not in world.secrets.values.values()
    assert world.hub.use(CredentialStore).load(world.now(created)).secrets["/apiKey"] == OTHER_KEY


async def test_new_credentials_end_a_suspension_for_the_old_ones(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    world.stripe.accepts = {OTHER_KEY}
    await world.check()
    assert world.now(created).suspension == SuspensionCause.Authentication
    command = RotateCredentials(credentials={"apiKey": OTHER_KEY})
    rotated = await world.hub.use(CredentialService).rotate(world.principal, created.integration_id, command)
    assert (rotated.integration.status, rotated.integration.suspension) == (S.Active, None)


async def test_the_audit_log_names_who_changed_which_field_and_no_value(world: IntegrationWorld) -> None:
    created = (await world.create(configuration={"currency": "USD"})).integration
    await world.put(
        created, name="Renamed", configuration={"apiKey": OTHER_KEY, "currency": "EUR"}, isEnabled=False
    )
    action, old, new = world.audited()[-1]
    assert action == "integration.updated"
    assert (old["name"], new["name"], old["isEnabled"], new["isEnabled"]) == (
        "Payments",
        "Renamed",
        True,
        False,
    )
    assert new["configuration"] == {"apiKey": "********", "currency": "********"}
    actor = world.rows("SELECT ActorUserId FROM AuditLog ORDER BY Sequence DESC")[0][0]
    assert str(actor).replace("-", "") == USER.hex
    told = json.dumps(world.audited())
    assert OTHER_KEY not in told and GOOD_KEY not in told and "EUR" not in told


async def test_a_stale_version_changes_nothing(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    await world.put(created, name="First")
    with pytest.raises(PreconditionFailed):
        await world.put(created, if_match=created.version, name="Second")
    with pytest.raises(PreconditionFailed):
        world.hub.use(Lifecycle).disconnect(world.principal, created.integration_id, "x", created.version)
    assert world.now(created).name == "First"


async def test_null_is_refused_with_the_name_on_the_wire(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    with pytest.raises(ValidationFailed) as refused:
        await world.put(created, isEnabled=None, allowTls12=None)
    assert [error.pointer for error in refused.value.errors] == ["/allowTls12", "/isEnabled"]


async def test_renaming_into_a_taken_slot_is_refused__BR_IM_01(world: IntegrationWorld) -> None:
    await world.create("REST", name="a")
    second = (await world.create("REST", name="b")).integration
    with pytest.raises(RuleViolation) as refused:
        await world.put(second, name="a")
    assert refused.value.code == "BR-IM-01"


# Suspending, reviewing, disconnecting, testing


async def test_a_review_needs_a_person_whose_note_is_kept__BR_IM_05(world: IntegrationWorld) -> None:
    from domain.integrations.commands import ReviewIntegration

    world.stripe.test_failure = ProviderFailure("rejected", "No.")
    created = (await world.create()).integration
    world.stripe.test_failure = None
    reviewed = await world.hub.use(Lifecycle).review(
        world.principal, created.integration_id, ReviewIntegration(note="Refunded by hand, ticket 7.")
    )
    assert reviewed.integration.status == S.Active
    assert any(log.message == "Refunded by hand, ticket 7." for log in world.logs(created))
    assert any(new.get("note") == "Refunded by hand, ticket 7." for _, _, new in world.audited())
    with pytest.raises(Conflict):
        await world.hub.use(Lifecycle).review(
            world.principal, created.integration_id, ReviewIntegration(note="Again.")
        )


async def test_disconnecting_destroys_the_credentials_and_keeps_the_row(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    world.hub.use(Lifecycle).disconnect(world.principal, created.integration_id, "Moved to Square")
    gone = world.now(created)
    assert (gone.status, gone.secret_name, world.secrets.credentials()) == (S.Disconnected, None, [])
    assert world.hub.use(IntegrationService).shown_configuration(world.principal, gone).configuration == {}
    assert world.raised("PaymentGatewayDisconnected") == [
        {
            "integrationId": str(gone.integration_id),
            "provider": "Stripe",
            "disconnectedBy": str(USER),
            "reason": "Moved to Square",
        }
    ]
    world.hub.use(Lifecycle).disconnect(world.principal, created.integration_id, "Again")
    assert len(world.raised("PaymentGatewayDisconnected")) == 1
    with pytest.raises(Conflict):
        await world.activate(created)
    with pytest.raises(Conflict):
        await world.put(created, name="x")
    assert (await world.create(name="Next")).integration.status == S.Active


async def test_a_test_tells_how_it_went_and_changes_nothing(world: IntegrationWorld) -> None:
    created = (await world.create(activate=False)).integration
    result = await world.hub.use(IntegrationTester).test(
        world.principal, created.integration_id, TestIntegration()
    )
    assert result.validation.succeeded and world.now(created) == created
    world.stripe.test_failure = ProviderFailure("rejected", "Amount too small.")
    result = await world.hub.use(IntegrationTester).test(
        world.principal, created.integration_id, TestIntegration()
    )
    assert (
        not result.validation.succeeded and result.validation.detail == "The test failed: Amount too small."
    )
    assert world.logs(created)[0].message == "Tested: The test failed: Amount too small."


@pytest.mark.parametrize(("stage", "lasts"), [("validate", 0), ("test", 1)])
async def test_a_charge_lasts_although_the_database_is_lost_after_it(
    world: IntegrationWorld, stage: str, lasts: int
) -> None:
    """So the request's outcome is unknown, and its repeat charges nothing under the same Idempotency-Key."""
    created = (await world.create(activate=False)).integration
    world.stripe.gate = Gate()
    with counted_effects() as done:
        test = world.hub.use(IntegrationTester).test(
            world.principal, created.integration_id, TestIntegration()
        )
        testing = asyncio.create_task(test)
        await world.stripe.gate.reached_by(1)
        if stage == "validate":
            world.stripe.accepts = set()
        world.database.down = True
        world.stripe.gate.open()
        with pytest.raises(Unavailable):
            await testing
    world.database.down = False
    assert (world.stripe.calls[-1], done.count) == (stage, lasts)


async def test_a_test_that_meets_refused_credentials_suspends_at_once__11_1(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    world.stripe.accepts = set()
    await world.hub.use(IntegrationTester).test(world.principal, created.integration_id, TestIntegration())
    assert world.now(created).status == S.Suspended
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]


async def test_a_change_during_validation_is_not_overwritten(world: IntegrationWorld) -> None:
    created = (await world.create(activate=False)).integration
    world.stripe.gate = Gate()
    running = asyncio.create_task(world.activate(created))
    await world.stripe.gate.reached_by()
    await world.put(created, configuration={"apiKey": OTHER_KEY})
    world.stripe.gate.open()
    with pytest.raises(PreconditionFailed):
        await running
    assert world.now(created).status == S.PendingValidation


async def test_another_tenants_integration_is_not_there(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    with pytest.raises(NotFound):
        world.hub.use(IntegrationService).get(world.other, created.integration_id)
    with pytest.raises(NotFound):
        world.hub.use(Lifecycle).disconnect(world.other, created.integration_id, "x")
    with pytest.raises(NotFound):
        world.hub.use(IntegrationHistory).health(world.other, created.integration_id)


async def test_the_list_filters_searches_sorts_and_pages(world: IntegrationWorld) -> None:
    for name in ("beta", "Alpha", "gamma_x", "gammaZx"):
        await world.create("REST", name=name)
    await world.create("Stripe")

    def names(**filter_: object) -> list[str]:
        chosen = IntegrationFilter(**filter_)  # type: ignore[arg-type]
        return [
            integration.name
            for integration in world.hub.use(IntegrationService)
            .page(world.principal, chosen, PageRequest())
            .items
        ]

    assert names(text="GAMMA_") == ["gamma_x"]
    assert names(providers=["Stripe"]) == ["Payments"]
    assert names(types=[IntegrationType.CustomAPI], sort="name", descending=True)[0] == "gamma_x"
    assert names(statuses=[S.Suspended]) == []
    page = world.hub.use(IntegrationService).page(world.principal, IntegrationFilter(), PageRequest(2, 2))
    assert (len(page.items), page.total) == (2, 5)


async def test_an_adapter_that_stumbles_over_an_answer_costs_no_more_than_a_reason(
    world: IntegrationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stumble(connection: object) -> None:
        raise KeyError("planted-value")

    monkeypatch.setattr(world.stripe, "validate_credentials", stumble)
    created = await world.create()
    assert created.integration.status == S.Draft
    assert created.integration.reason == "The provider's answer was not understood."
