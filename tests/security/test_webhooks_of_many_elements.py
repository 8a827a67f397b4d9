"""A signed body of a mebibyte held the event loop for seconds, and each of its elements became an event."""

import time

import pytest

from domain.providers.contract import ProviderFailure, SignatureRefused, VerifiedEvent
from infra.providers._kit.contents import EVENTS_AT_MOST, SEPARATORS_AT_MOST, elements_of, events_of, json_of
from infra.providers._kit.wire import signed_json
from tests.worlds.heartbeat import beating
from tests.worlds.provider_webhooks import receiving
from tests.worlds.provider_world import incoming

MEBIBYTE = 1024 * 1024
BOMBS = {
    "numbers": b"[" + b"0," * (MEBIBYTE // 2 - 2) + b"0]",
    "objects": b"[" + b"{}," * (MEBIBYTE // 3 - 2) + b"0]",
    "fractions": b"[" + b"1.5," * (MEBIBYTE // 4 - 2) + b"0]",
    "a list that is none": b"[" + b"0," * (MEBIBYTE // 2 - 4) + b"x]",
    "lists within lists": b"[" + b"[[[[[1]]]]]," * (MEBIBYTE // 12 - 2) + b"0]",
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=list(BOMBS))
async def test_a_webhook_of_many_elements_is_refused_before_it_is_read(body: bytes) -> None:
    assert sum(body.count(mark) for mark in b",[{") > SEPARATORS_AT_MOST
    request = incoming(body, {"content-type": "application/json"})
    receive = receiving(
        "REST", webhook={"scheme": "token", "header": "x-token"}, webhookSecret="known-to-both"
    )
    async with beating() as heartbeat:
        began = time.process_time()
        for read in (elements_of, json_of):
            with pytest.raises(ProviderFailure, match="more than 150,000 values"):
                read(request)
        with pytest.raises(SignatureRefused, match="too many values"):
            signed_json(body)
        with pytest.raises(ProviderFailure, match="more than 150,000 values"):
            await receive({"x-token": "known-to-both", "content-type": "application/json"}, body)
        assert time.process_time() - began < 0.5
    assert heartbeat.is_steady, heartbeat


@pytest.mark.parametrize("end", [b"0]", b"x]"], ids=["a list", "a list with an odd element"])
def test_a_webhook_of_as_many_elements_as_allowed_is_read_and_one_more_is_not(end: bytes) -> None:
    def found(count: int) -> tuple[VerifiedEvent, ...]:
        request = incoming(b"[" + b"{}," * (count - 1) + end, {})
        return events_of(elements_of(request), lambda entry: VerifiedEvent("a", "b", entry))

    assert len(found(EVENTS_AT_MOST)) == EVENTS_AT_MOST
    with pytest.raises(ProviderFailure, match="more than 5,000 events"):
        found(EVENTS_AT_MOST + 1)


async def test_a_form_of_many_fields_is_refused_before_it_is_read() -> None:
    receive = receiving(
        "REST", webhook={"scheme": "token", "header": "x-token"}, webhookSecret="known-to-both"
    )
    headers = {"x-token": "known-to-both", "content-type": "application/x-www-form-urlencoded"}
    with pytest.raises(ProviderFailure, match="more than 5,000 fields"):
        await receive(headers, b"a=1&" * (MEBIBYTE // 4))
