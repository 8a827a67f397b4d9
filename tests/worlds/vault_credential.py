"""A token credential that needs no Azure."""

from __future__ import annotations

import time

from tests.fixtures.keyvault_server import TOKEN


class FixedCredential:
    """A token credential as azure-core calls it; `asked` is what for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token_info(self, *scopes: str, options: object = None) -> object:
        from azure.core.credentials import AccessTokenInfo

        self.asked += scopes
        return AccessTokenInfo(TOKEN, int(time.time()) + 3600)

    def get_token(self, *scopes: str, **options: object) -> object:
        from azure.core.credentials import AccessToken

        return AccessToken(TOKEN, int(time.time()) + 3600)
