"""Azure Key Vault by its SDK."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from domain.core.errors import Unavailable
from infra.azure.credential import managed_identity
from infra.azure.keyvault.limits import check_name, check_value
from infra.azure.outage import Outage, is_unanswered

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.keyvault.secrets import SecretClient

_OPTIONS: dict[str, Any] = {
    "retry_total": 3,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 2,
    # Who got no answer within its seconds seldom gets one at the next try.
    "retry_read": 1,
    "connection_timeout": 2,
    "read_timeout": 5,
}
_DELETION_SECONDS = 30.0
_POLLING_SECONDS = 1
_NOT_PERMITTED = 403
PAUSE_SECONDS = 2.0


class KeyVaultSecretStore:
    """One vault, entered with the managed identity `client_id`. Implements SecretStore. Thread-safe.

    - A call is tried at most four times, twice where no answer comes, and waits as long as `Retry-After` says.
    - After a call that was never answered, calls fail at once for `PAUSE_SECONDS` of `monotonic`; then one at a time
      asks.
    - `credential` and `options` go to the SDK's client as they are.
    - Raises ValueError for what Key Vault would refuse (`infra.azure.keyvault.limits`)."""

    def __init__(
        self,
        vault_url: str,
        client_id: str | None = None,
        *,
        credential: TokenCredential | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self._outage = Outage("Key Vault", is_unanswered, pause_seconds=PAUSE_SECONDS, monotonic=monotonic)
        self._vault_url = vault_url
        self._client_id = client_id
        self._credential = credential
        self._options = _OPTIONS | options

    def get(self, name: str, version: str | None = None) -> str | None:
        from azure.core.exceptions import ResourceNotFoundError

        check_name(name)
        with self._asked():
            try:
                return self._client.get_secret(name, version).value
            except ResourceNotFoundError:
                return None

    def set(self, name: str, value: str) -> str:
        from azure.core.exceptions import ResourceExistsError

        check_name(name)
        check_value(value)
        with self._asked():
            try:
                return _version(self._client.set_secret(name, value))
            except ResourceExistsError:
                # Deleted but not purged: the name is taken until the secret is recovered.
                self._client.begin_recover_deleted_secret(name, _polling_interval=_POLLING_SECONDS).wait(
                    _DELETION_SECONDS
                )
                return _version(self._client.set_secret(name, value))

    def delete(self, name: str) -> bool:
        """Delete the secret for good.

        Where the identity may not purge, the vault keeps the deleted secret for its retention period."""
        from azure.core.exceptions import ResourceNotFoundError

        check_name(name)
        with self._asked():
            try:
                deletion = self._client.begin_delete_secret(name, _polling_interval=_POLLING_SECONDS)
            except ResourceNotFoundError:
                return False
            if deletion.result().recovery_id is not None:
                deletion.wait(_DELETION_SECONDS)
                self._purge(name)
        return True

    def names(self, prefix: str = "") -> list[str]:
        with self._asked():
            names = [secret.name or "" for secret in self._client.list_properties_of_secrets()]
        return sorted(name for name in names if name.startswith(prefix))

    def ping(self) -> None:
        """Ask the vault for one name. Raises Unavailable if it does not answer, or does not let us in."""
        with self._asked():
            next(iter(self._client.list_properties_of_secrets(max_page_size=1)), None)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """One call, its errors as the port's."""
        with _as_unavailable(), self._outage.asked():
            yield

    def _purge(self, name: str) -> None:
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

        try:
            self._client.purge_deleted_secret(name)
        except ResourceNotFoundError:
            return
        except HttpResponseError as error:
            if error.status_code != _NOT_PERMITTED:
                raise

    @cached_property
    def _client(self) -> SecretClient:
        from azure.keyvault.secrets import SecretClient

        credential = self._credential or managed_identity(self._client_id)
        return SecretClient(self._vault_url, credential, **self._options)


def _version(secret: Any) -> str:
    return str(secret.properties.version)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except AzureError as error:
        # The SDK's message may quote the request; its type and status are enough.
        status = error.status_code if isinstance(error, HttpResponseError) else None
        raise Unavailable(f"Key Vault does not serve the request: {status or type(error).__name__}") from None
    except ValueError:
        # What we ask was checked before: it is the vault's answer that the SDK does not believe.
        raise Unavailable("Key Vault's challenge asks for a token that is not for its address.") from None
