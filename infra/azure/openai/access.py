"""How we are let into Azure OpenAI: a key, or a managed identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from domain.recommendations.ai import ModelUnavailable
from infra.azure.credential import IdentityTokens

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_SCOPE: Final = "https://cognitiveservices.azure.com/.default"


class ModelAccess(Protocol):
    def headers(self) -> dict[str, str]:
        """Return the headers that a request must carry. May ask the network. Raises ModelUnavailable."""


class KeyModelAccess:
    """One of the resource's two keys."""

    def __init__(self, key: str) -> None:
        self._key = key

    def headers(self) -> dict[str, str]:
        return {"api-key": self._key}


class IdentityModelAccess:
    """Enters with a managed identity that has the role Cognitive Services OpenAI User. Thread-safe."""

    def __init__(self, client_id: str | None, *, credential: TokenCredential | None = None) -> None:
        self._identity = IdentityTokens(client_id, credential)

    def headers(self) -> dict[str, str]:
        """With Entra ID's token, which the credential keeps until it is about to expire."""
        from azure.core.exceptions import AzureError

        try:
            return {"Authorization": f"Bearer {self._identity.token(_SCOPE)}"}
        except AzureError as error:
            detail = f"No token for Azure OpenAI: {type(error).__name__}."
            raise ModelUnavailable("unreachable", detail) from None
