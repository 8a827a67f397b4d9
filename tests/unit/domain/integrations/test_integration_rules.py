"""The state machine and the other rules of section 6.1, as tables."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.errors import Conflict, RuleViolation, ValidationFailed
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.rules import MOVES, Move, active_slot, check_urls, slot, slot_taken, status_after
from domain.providers.contract import IntegrationType
from infra.app.settings import Settings
from tests.worlds.builders import OTHER_USER, START, TENANT, USER

S = IntegrationStatus


def integration(kind: IntegrationType = IntegrationType.CRM, status: S = S.Active) -> Integration:
    return Integration(TENANT, TENANT, "Sales", kind, "HubSpot", status, "", START, USER)


@pytest.mark.parametrize(
    ("before", "move", "then"),
    [
        (S.Draft, Move.Validate, S.PendingValidation),
        (S.PendingValidation, Move.Activate, S.Active),
        (S.PendingValidation, Move.Refuse, S.Draft),
        (S.PendingValidation, Move.Fail, S.Error),
        (S.Active, Move.Suspend, S.Suspended),
        (S.Suspended, Move.Activate, S.Active),
        (S.Active, Move.Fail, S.Error),
        (S.Error, Move.Review, S.Draft),
        (S.Error, Move.Shelve, S.Suspended),
        (S.Error, Move.Disconnect, S.Disconnected),
        (S.Active, Move.Disconnect, S.Disconnected),
    ],
)
def test_a_legal_move_leads_where_the_table_says(before: S, move: Move, then: S) -> None:
    assert status_after(before, move) == then


@given(st.sampled_from(S), st.sampled_from(Move))
def test_every_other_move_is_refused_with_what_is_allowed(before: S, move: Move) -> None:
    if move in MOVES[before]:
        return
    with pytest.raises(Conflict) as refused:
        status_after(before, move)
    if before == S.Error:
        assert refused.value.code == "BR-IM-05"
    else:
        assert refused.value.code == "illegal-move" and "allowed:" in refused.value.detail


def test_active_is_reached_only_from_states_that_were_validated__BR_IM_02() -> None:
    sources = {status for status, moves in MOVES.items() if S.Active in moves.values()}
    assert sources == {S.PendingValidation, S.Suspended}


def test_error_is_left_only_by_review_or_disconnection__BR_IM_05() -> None:
    assert set(MOVES[S.Error]) == {Move.Review, Move.Shelve, Move.Disconnect}


def test_nothing_leaves_disconnected() -> None:
    assert MOVES[S.Disconnected] == {}


def test_a_payment_gateway_shares_its_slot_whatever_its_name_and_provider__BR_IM_01() -> None:
    original = integration(IntegrationType.PaymentGateway)
    assert slot(original) == slot(replace(original, name="Other", provider="Square", created_by=OTHER_USER))


def test_calendars_have_a_slot_for_each_owner__BR_IM_01() -> None:
    original = integration(IntegrationType.CalendarSync)
    assert slot(original) == slot(replace(original, name="Other"))
    assert slot(original) != slot(replace(original, created_by=OTHER_USER))


def test_other_types_have_a_slot_for_each_provider_and_name__BR_IM_01() -> None:
    original = integration(IntegrationType.CRM)
    assert slot(original) != slot(replace(original, name="Other"))
    assert slot(original) != slot(replace(original, provider="Salesforce"))


@pytest.mark.parametrize("status", list(S))
def test_only_an_active_integration_holds_its_slot(status: S) -> None:
    assert (active_slot(integration(status=status)) is not None) == (status == S.Active)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example",
        "ftp://api.example",
        "https://user:pass@api.example",
        "https://",
        "https://a b.example",
        "javascript:alert(1)",
        "https://api.example:99999/",
    ],
)
def test_a_url_that_is_not_plain_https_is_refused_with_its_pointer(url: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_urls({"auth": {"tokenUrl": url}}, allow_loopback=True)
    assert [error.pointer for error in refused.value.errors] == ["/configuration/auth/tokenUrl"]
    assert url not in refused.value.errors[0].detail


def test_http_is_for_loopback_in_development_only() -> None:
    check_urls({"baseUrl": "http://127.0.0.1:8080/x"}, allow_loopback=True)
    with pytest.raises(ValidationFailed):
        check_urls({"baseUrl": "http://127.0.0.1:8080/x"}, allow_loopback=False)


def test_a_refused_slot_is_a_rule_violation() -> None:
    refused = slot_taken(integration(IntegrationType.SMSService))
    assert isinstance(refused, RuleViolation) and refused.code == "BR-IM-01"


def test_a_type_that_does_not_exist_cannot_be_switched_off() -> None:
    assert Settings(disabled_integration_types="CRM, Storage").disabled_types == {
        IntegrationType.CRM,
        IntegrationType.Storage,
    }
    with pytest.raises(ValueError, match="no integration type"):
        Settings(disabled_integration_types="CRM,Telepathy")
