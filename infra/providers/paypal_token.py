"""PayPal's access token (https://developer.paypal.com/api/rest/authentication/)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.integrations.providers import Connection, ProviderRequest
from infra.providers.answers import document, text_at
from infra.providers.wire import basic


async def granted_token(connection: Connection) -> Mapping[str, Any]:
    """The answer of the token endpoint, with an `access_token`. Raises ProviderFailure."""
    configuration = connection.configuration
    request = ProviderRequest(
        "POST",
        f"{configuration.address}/v1/oauth2/token",
        headers={"authorization": basic(configuration.client_id, configuration.client_secret)},
        form={"grant_type": "client_credentials"},
        idempotent=True,
    )
    granted = document(await connection.http.expect(request))
    text_at(granted, "access_token")
    return granted
