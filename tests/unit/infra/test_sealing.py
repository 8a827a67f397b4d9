"""Sealed values open for their context only, through rotations and races."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.errors import Unavailable
from infra.sealing import SecretStoreCipher


class MemorySecretStore:
    """A secret store in memory. `before_get` runs before a read, to let another process in between."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.reads: list[str] = []
        self.down = False
        self.before_get: Callable[[str], None] = lambda name: None

    def get(self, name: str, version: str | None = None) -> str | None:
        self._answer()
        self.before_get(name)
        self.reads.append(name)
        return self.values.get(name)

    def set(self, name: str, value: str) -> str:
        self._answer()
        self.values[name] = value
        return "1"

    def delete(self, name: str) -> bool:
        return self.values.pop(name, None) is not None

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.values if name.startswith(prefix))

    def _answer(self) -> None:
        if self.down:
            raise Unavailable("The store is down")


class Ticks:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def store() -> MemorySecretStore:
    return MemorySecretStore()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def cipher(store: MemorySecretStore, ticks: Ticks) -> SecretStoreCipher:
    return SecretStoreCipher(store, monotonic=ticks)


SHARED = SecretStoreCipher(MemorySecretStore())


@given(plaintext=st.text(), context=st.text())
def test_what_is_sealed_opens_in_its_context(plaintext: str, context: str) -> None:
    assert SHARED.open(SHARED.seal(plaintext, context=context), context=context) == plaintext


@given(plaintext=st.text(min_size=6), position=st.integers(min_value=0), replacement=st.characters())
def test_a_value_altered_anywhere_does_not_open(plaintext: str, position: int, replacement: str) -> None:
    sealed = SHARED.seal(plaintext, context="row")
    position %= len(sealed)
    altered = sealed[:position] + replacement + sealed[position + 1 :]
    if altered == sealed:
        return
    with pytest.raises(ValueError) as caught:
        SHARED.open(altered, context="row")
    assert plaintext not in str(caught.value)


@given(cut=st.integers(min_value=0, max_value=70))
def test_a_value_cut_short_does_not_open(cut: int) -> None:
    sealed = SHARED.seal("plaintext", context="row")
    with pytest.raises(ValueError):
        SHARED.open(sealed[: min(cut, len(sealed) - 1)], context="row")


def test_a_value_copied_to_another_context_does_not_open(cipher: SecretStoreCipher) -> None:
    with pytest.raises(ValueError, match="another context"):
        cipher.open(cipher.seal("plain", context="row-1"), context="row-2")


def test_the_same_plaintext_never_seals_alike(cipher: SecretStoreCipher) -> None:
    assert cipher.seal("plain", context="row") != cipher.seal("plain", context="row")


def test_the_first_use_stores_a_key_of_32_bytes_and_names_it(
    cipher: SecretStoreCipher, store: MemorySecretStore
) -> None:
    sealed = cipher.seal("plain", context="row")
    key_id = cipher.key_id(sealed)
    assert sealed.startswith(f"v1.{key_id}.")
    assert store.values["data-key-current"] == key_id
    assert len(base64.urlsafe_b64decode(store.values[f"data-key-{key_id}"] + "=")) == 32


def test_another_process_opens_it(cipher: SecretStoreCipher, store: MemorySecretStore) -> None:
    sealed = cipher.seal("plain", context="row")
    assert SecretStoreCipher(store).open(sealed, context="row") == "plain"


def test_keys_are_read_once_and_the_current_name_once_a_minute(
    cipher: SecretStoreCipher, store: MemorySecretStore, ticks: Ticks
) -> None:
    cipher.seal("plain", context="row")
    store.reads.clear()
    ticks.seconds = 59.9
    cipher.open(cipher.seal("plain", context="row"), context="row")
    assert store.reads == []
    ticks.seconds = 60.0
    cipher.seal("plain", context="row")
    cipher.seal("plain", context="row")
    assert store.reads == ["data-key-current"]


def test_after_a_rotation_new_values_use_the_new_key_and_old_ones_open(cipher: SecretStoreCipher) -> None:
    old = cipher.seal("plain", context="row")
    key_id = cipher.rotate()
    new = cipher.seal("plain", context="row")
    assert cipher.key_id(new) == key_id != cipher.key_id(old)
    assert cipher.open(old, context="row") == "plain"
    assert cipher.open(new, context="row") == "plain"


def test_a_rotation_elsewhere_is_opened_at_once_and_sealed_under_within_a_minute(
    cipher: SecretStoreCipher, store: MemorySecretStore, ticks: Ticks
) -> None:
    old = cipher.key_id(cipher.seal("plain", context="row"))
    elsewhere = SecretStoreCipher(store)
    new = elsewhere.rotate()
    assert cipher.open(elsewhere.seal("plain", context="row"), context="row") == "plain"
    assert cipher.key_id(cipher.seal("plain", context="row")) == old
    ticks.seconds = 60.0
    assert cipher.key_id(cipher.seal("plain", context="row")) == new


def test_a_process_that_loses_the_race_for_the_first_key_uses_the_winners(
    cipher: SecretStoreCipher, store: MemorySecretStore
) -> None:
    winner = SecretStoreCipher(store)
    reads = []

    def overtake(name: str) -> None:
        reads.append(name)
        # The second read of the name comes after the loser wrote it.
        if reads == ["data-key-current"] * 2:
            winner.rotate()

    store.before_get = overtake
    sealed = cipher.seal("plain", context="row")
    assert cipher.key_id(sealed) == store.values["data-key-current"]
    assert len(store.names("data-key-")) == 3
    assert winner.open(sealed, context="row") == "plain"


def test_threads_racing_for_the_first_key_make_one(store: MemorySecretStore) -> None:
    cipher, barrier, sealed = SecretStoreCipher(store), threading.Barrier(8), []

    def seal() -> None:
        barrier.wait()
        sealed.append(cipher.seal("plain", context="row"))

    threads = [threading.Thread(target=seal) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sealed) == 8
    assert len({cipher.key_id(each) for each in sealed}) == 1


def test_a_process_cut_off_from_the_store_goes_on_with_the_keys_it_has(
    cipher: SecretStoreCipher, store: MemorySecretStore, ticks: Ticks
) -> None:
    sealed = cipher.seal("plain", context="row")
    store.down = True
    ticks.seconds = 61.0
    assert cipher.open(sealed, context="row") == "plain"
    assert cipher.open(cipher.seal("more", context="row"), context="row") == "more"


def test_without_the_store_nothing_can_be_sealed_first(
    cipher: SecretStoreCipher, store: MemorySecretStore
) -> None:
    store.down = True
    with pytest.raises(Unavailable):
        cipher.seal("plain", context="row")
    store.down = False
    assert cipher.open(cipher.seal("plain", context="row"), context="row") == "plain"


def test_nothing_is_sealed_under_a_named_key_that_is_not_there(
    cipher: SecretStoreCipher, store: MemorySecretStore
) -> None:
    store.values["data-key-current"] = "0" * 16
    with pytest.raises(Unavailable, match="not in the secret store"):
        cipher.seal("plain", context="row")
    store.values["data-key-" + "0" * 16] = "c2hvcnQ"
    with pytest.raises(Unavailable, match="32 bytes") as caught:
        cipher.seal("plain", context="row")
    assert "c2hvcnQ" not in str(caught.value)


def test_a_value_whose_key_is_gone_says_so(cipher: SecretStoreCipher, store: MemorySecretStore) -> None:
    sealed = cipher.seal("plain", context="row")
    store.delete(f"data-key-{cipher.key_id(sealed)}")
    with pytest.raises(ValueError, match="not in the secret store"):
        SecretStoreCipher(store).open(sealed, context="row")


@pytest.mark.parametrize("text", ["", "plain", "v2.0123456789abcdef.AAAA", "v1.current.AAAA", "v1..AAAA"])
def test_what_was_never_sealed_is_refused(cipher: SecretStoreCipher, text: str) -> None:
    with pytest.raises(ValueError, match="Not a sealed value"):
        cipher.open(text, context="row")
    with pytest.raises(ValueError, match="Not a sealed value"):
        cipher.key_id(text)
