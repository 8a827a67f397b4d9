"""Azure Blob Storage against Azurite, and Event Grid's notifications."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure, SignatureRefused, TestOptions
from infra.providers.azure_blob.adapter import PROVIDER as BLOB
from tests.fixtures.providers import azure_blob as blob_case
from tests.fixtures.scripted_server import Answer
from tests.worlds.azure_blob_peer import blob, make_container, sas
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_peers import connected
from tests.worlds.provider_world import incoming, world

OPTIONS = TestOptions()


@pytest.mark.azure
@pytest.mark.parametrize("by", ["key", "sas", "sas with ?"])
async def test_blob_credentials_are_proved_and_the_test_leaves_nothing(azurite: str, by: str) -> None:
    await make_container(azurite, "contoso")
    changes: dict[str, Any] = {}
    if by != "key":
        changes = {"accountKey": None, "sasToken": ("?" if "?" in by else "") + sas()}
    async with connected(BLOB, blob(azurite, "contoso", **changes)) as connection:
        check = await BLOB.validate_credentials(connection)
        result = await BLOB.test(connection, OPTIONS)
        await BLOB.probe(connection)
    assert check.account == "devstoreaccount1/contoso"
    assert [step.name for step in result.steps] == ["create", "delete"]


@pytest.mark.azure
async def test_blob_refuses_a_wrong_key_without_repeating_it(azurite: str) -> None:
    wrong = base64.b64encode(b"not the account's key").decode()
    async with connected(BLOB, blob(azurite, "contoso", accountKey=wrong)) as connection:
        with pytest.raises(ProviderFailure) as caught:
            await BLOB.validate_credentials(connection)
    assert caught.value.status == 403  # the emulator's code is AuthorizationFailure, the service's below
    assert wrong not in f"{caught.value!r} {connection!r}"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("AuthenticationFailed", "unauthorized"), ("AuthorizationPermissionMismatch", "forbidden")],
)
async def test_blob_error_codes_have_their_kind(code: str, kind: str) -> None:
    async with world(CASES["AzureBlob"]) as here:
        here.server.always = blob_case.error(403, code, "said so")
        with pytest.raises(ProviderFailure) as caught:
            await BLOB.probe(here.connection)
    assert caught.value.kind == kind


@pytest.mark.azure
async def test_blob_says_when_the_container_is_missing(azurite: str) -> None:
    async with connected(BLOB, blob(azurite, "nowhere")) as connection:
        with pytest.raises(ProviderFailure) as caught:
            await BLOB.validate_credentials(connection)
    assert (caught.value.kind, caught.value.status) == ("rejected", 404)


async def test_blob_signature_in_the_query_is_kept_from_texts() -> None:
    secret = "sv=2021-12-02&sig=c2lnbmF0dXJlLXNlY3JldA%3D%3D"
    changes = {"accountKey": None, "sasToken": secret}
    case = replace(CASES["AzureBlob"], secrets=["c2lnbmF0dXJlLXNlY3JldA"])
    async with world(case, changes=changes) as here:
        here.server.always = Answer(400, b"<Error><Message>bad c2lnbmF0dXJlLXNlY3JldA</Message></Error>")
        with pytest.raises(ProviderFailure) as caught:
            await BLOB.probe(here.connection)
        assert here.server.requests[0].query["sig"] == "c2lnbmF0dXJlLXNlY3JldA=="
        assert "c2lnbmF0dXJlLXNlY3JldA" not in f"{caught.value} {caught.value!r} {here.connection!r}"


@pytest.mark.parametrize(
    "changes", [{"sasToken": "sv=1"}, {"accountKey": None}, {"accountKey": "not base64!"}]
)
def test_blob_takes_exactly_one_credential(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"accountKey|base64"):
        BLOB.profile.configuration.model_validate(blob("https://a.example.org", **changes))


HANDSHAKE = {
    "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "data": {"validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"},
    "eventTime": "2026-03-01T12:00:00Z",
}
CREATED = {
    "id": "831e1650-001e-001b-66ab-eeb76e069631",
    "subject": "/blobServices/default/containers/events/blobs/a.csv",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-03-01T11:59:58Z",
    "data": {"api": "PutBlob", "eTag": "0x8D4BCC2E4835CD0"},
}
URL = "https://hub.example.org/api/webhooks/incoming/1"


@pytest.mark.parametrize("where", ["query", "header"])
async def test_event_grid_handshake_and_events_need_the_secret(where: str) -> None:
    secret = blob_case.EVENT_SECRET
    url = f"{URL}?secret={secret}" if where == "query" else URL
    headers = {"X-Webhook-Secret": secret} if where == "header" else {}
    async with world(CASES["AzureBlob"]) as here:
        opened = await BLOB.receive(
            here.connection, incoming(json.dumps([HANDSHAKE]).encode(), headers, url=url)
        )
        told = await BLOB.receive(here.connection, incoming(json.dumps([CREATED]).encode(), headers, url=url))
    assert opened.body is not None
    assert json.loads(opened.body) == {"validationResponse": HANDSHAKE["data"]["validationCode"]}  # type: ignore[index]
    assert opened.content_type == "application/json"
    (event,) = told.events
    assert (event.event_id, event.type) == (CREATED["id"], "Microsoft.Storage.BlobCreated")


@pytest.mark.parametrize("url", [URL, f"{URL}?secret=wrong", f"{URL}?secret="])
async def test_event_grid_handshake_is_not_answered_to_strangers(url: str) -> None:
    async with world(CASES["AzureBlob"]) as here:
        with pytest.raises(SignatureRefused):
            await BLOB.receive(here.connection, incoming(json.dumps([HANDSHAKE]).encode(), {}, url=url))
