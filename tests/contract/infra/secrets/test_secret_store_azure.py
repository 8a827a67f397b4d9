"""What only a vault at a distance has: its challenge, soft delete, pages, throttling, and outages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from domain.core.errors import Unavailable
from infra.azure.keyvault.store import PAUSE_SECONDS, KeyVaultSecretStore
from tests.fixtures.keyvault_server import KeyVaultServer, VaultState
from tests.loopback.plug import plugged
from tests.worlds.vault_credential import FixedCredential

pytestmark = pytest.mark.azure


def test_a_deleted_secret_is_purged_once_the_vault_has_deleted_it(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    key_vault.set("stripe", "one")
    vault.deletion_polls = 1
    assert key_vault.delete("stripe") is True
    assert vault.deleted == {}
    assert "DELETE /deletedsecrets/stripe" in vault.requests


def test_a_vault_without_soft_delete_is_not_asked_to_purge(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    vault.soft_delete = False
    key_vault.set("stripe", "one")
    assert key_vault.delete("stripe") is True
    assert not any("deletedsecrets" in request for request in vault.requests)


def test_without_permission_to_purge_a_secret_is_deleted_and_its_name_still_usable(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    vault.purge_permitted = False
    key_vault.set("stripe", "one")
    assert key_vault.delete("stripe") is True
    assert key_vault.get("stripe") is None
    key_vault.set("stripe", "two")
    assert key_vault.get("stripe") == "two"


def test_a_name_that_somebody_deleted_is_recovered_to_be_written(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    vault.deleted["stripe"] = {"0" * 32: "theirs"}
    vault.recovery_polls = 2
    version = key_vault.set("stripe", "ours")
    assert "POST /deletedsecrets/stripe/recover" in vault.requests
    assert key_vault.get("stripe") == "ours"
    assert key_vault.get("stripe", version) == "ours"
    assert vault.deleted == {}


def test_a_name_that_is_just_being_deleted_is_unavailable_until_it_is(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    vault.deleted["stripe"] = {"0" * 32: "theirs"}
    vault.deletion_polls = 1
    with pytest.raises(Unavailable, match="409") as caught:
        key_vault.set("stripe", "s3cret")
    assert "s3cret" not in str(caught.value)
    assert "stripe" not in vault.live
    vault.deletion_polls = 0
    key_vault.set("stripe", "ours")
    assert key_vault.get("stripe") == "ours"


def test_names_are_listed_over_all_pages(key_vault: KeyVaultSecretStore, vault: VaultState) -> None:
    vault.live |= {f"wh-{number:02}": {"0" * 32: "value"} for number in range(25)}
    assert key_vault.names("wh-") == [f"wh-{number:02}" for number in range(25)]
    answered = len(vault.requests) - vault.anonymous
    assert answered == 13, "two to a page"


def test_a_page_that_fails_for_a_moment_is_asked_for_again(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    vault.live |= {name: {"0" * 32: "value"} for name in "abcde"}
    key_vault.ping()
    vault.down = 1
    assert key_vault.names() == ["a", "b", "c", "d", "e"]


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[KeyVaultServer]:
    """A vault that this process has not met: the SDK remembers challenges for all its clients."""
    made = KeyVaultServer(tmp_path)
    yield made
    made.close()


def test_the_vaults_challenge_says_what_the_token_is_for(
    stranger: KeyVaultServer, credential: FixedCredential
) -> None:
    vault = stranger.state
    key_vault = KeyVaultSecretStore(
        stranger.url,
        credential=credential,  # type: ignore[arg-type]
        verify_challenge_resource=False,
        connection_verify=str(stranger.ca_file),
    )
    assert key_vault.get("stripe") is None
    assert len(vault.requests) == 2
    assert vault.anonymous == 1, "the first request carries no token"
    assert credential.asked == ["https://vault.azure.net/.default"]
    key_vault.set("stripe", "one")
    assert key_vault.get("stripe") == "one"
    assert vault.anonymous == 1, "the answer to the challenge is remembered"
    key_vault.close()


def test_a_vault_that_asks_for_the_token_of_another_gets_none(
    stranger: KeyVaultServer, credential: FixedCredential
) -> None:
    store = KeyVaultSecretStore(
        stranger.url,  # not a name under vault.azure.net, which the challenge asks a token for
        credential=credential,  # type: ignore[arg-type]
        connection_verify=str(stranger.ca_file),
    )
    for call in (store.ping, lambda: store.get("stripe"), lambda: store.set("stripe", "s3cret")):
        with pytest.raises(Unavailable, match="challenge"):
            call()
    assert credential.asked == []
    assert stranger.state.live == {}
    store.close()


def test_a_throttled_call_waits_as_told_and_succeeds(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    key_vault.set("stripe", "one")
    vault.throttled = 1
    begun = time.monotonic()
    assert key_vault.get("stripe") == "one"
    assert time.monotonic() - begun >= 1.0


def test_a_vault_that_stays_down_is_unavailable_after_four_tries(
    key_vault: KeyVaultSecretStore, vault: VaultState
) -> None:
    key_vault.ping()
    for call in (
        lambda: key_vault.get("stripe"),
        lambda: key_vault.set("stripe", "s3cret"),
        lambda: key_vault.delete("stripe"),
        key_vault.names,
        key_vault.ping,
    ):
        vault.down = 4
        vault.requests.clear()
        with pytest.raises(Unavailable, match="503") as caught:
            call()
        assert len(vault.requests) == 4
        assert "s3cret" not in str(caught.value)


def test_a_vault_that_cannot_be_reached_or_trusted_is_unavailable(vault_server: KeyVaultServer) -> None:
    for url, trust in [("https://127.0.0.1:1", str(vault_server.ca_file)), (vault_server.url, True)]:
        store = KeyVaultSecretStore(
            url,
            credential=FixedCredential(),  # type: ignore[arg-type]
            verify_challenge_resource=False,
            connection_verify=trust,
            retry_backoff_factor=0.01,
        )
        with pytest.raises(Unavailable, match="ServiceRequestError"):
            store.get("stripe")
        store.close()


def test_a_vault_that_hangs_is_asked_twice_and_by_one_at_a_time(
    vault_server: KeyVaultServer, vault: VaultState, credential: FixedCredential
) -> None:
    now = [0.0]
    with plugged() as plug:
        plug.target = int(urlsplit(vault_server.url).port or 0)
        store = KeyVaultSecretStore(
            f"https://127.0.0.1:{plug.port}",
            credential=credential,  # type: ignore[arg-type]
            monotonic=lambda: now[0],
            verify_challenge_resource=False,
            connection_verify=str(vault_server.ca_file),
            retry_backoff_factor=0.01,
            connection_timeout=0.5,
            read_timeout=0.5,
        )
        store.set("stripe", "one")

        def refused() -> float:
            """Seconds until it was known that the vault is away."""
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="Key Vault"):
                store.get("stripe")
            return time.monotonic() - begun

        plug.hold()
        assert 0.9 < refused() < 1.8, "twice"
        assert refused() < 0.2, "a pause"
        plug.restore()
        now[0] += PAUSE_SECONDS
        assert store.get("stripe") == "one"
        store.close()
