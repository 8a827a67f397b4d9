"""The one way in which the product enters Azure's services without a key: its managed identity.

`azure.identity` is imported where the first credential is made, since it takes a tenth of a second to import.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def managed_identity(client_id: str | None) -> TokenCredential:
    """Return a credential for the managed identity `client_id`, or for what the environment offers when it is None.

    On a developer's machine that is the login of the Azure CLI. The credential keeps a token until shortly before it
    expires, and asks for none until one is needed."""
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id)


class IdentityTokens:
    """Bearer tokens of the managed identity `client_id`, whose credential is made on first use. Thread-safe."""

    def __init__(self, client_id: str | None, credential: TokenCredential | None = None) -> None:
        self._client_id = client_id
        self._credential = credential
        self._lock = threading.Lock()

    def token(self, scope: str) -> str:
        """May ask the network. Raises AzureError."""
        with self._lock:
            if self._credential is None:
                self._credential = managed_identity(self._client_id)
        return self._credential.get_token(scope).token
