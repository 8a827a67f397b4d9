"""Azure Blob storage on loopback: Azurite, and how a test enters it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from domain.providers.contract import ProviderRequest
from infra.providers._kit.storage_signing import sign_azure
from infra.providers.azure_blob.adapter import PROVIDER as BLOB
from tests.loopback.azurite import KEY
from tests.worlds.provider_peers import connected


def blob(address: str, container: str = "$root", **changes: Any) -> dict[str, Any]:
    given = {
        "accountName": "devstoreaccount1",
        "container": container,
        "accountKey": KEY,
        "baseUrl": address,
    }
    return given | changes


async def make_container(address: str, name: str) -> None:
    url, query = f"{address}/{name}", [("restype", "container")]
    key = base64.b64decode(KEY)
    version = {"x-ms-version": "2021-12-02"}
    headers = sign_azure(
        "devstoreaccount1", key, "PUT", url, query=query, headers=version, now=datetime.now(UTC)
    )
    async with connected(BLOB, blob(address, name)) as connection:
        request = ProviderRequest("PUT", f"{url}?restype=container", headers=headers)
        await connection.http.expect(request, 201, 409)


def sas() -> str:
    """An account SAS as https://learn.microsoft.com/rest/api/storageservices/create-account-sas says."""
    expiry = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    fields = ("devstoreaccount1", "rwdlac", "b", "co", "", expiry, "", "https,http", "2021-12-02", "", "")
    signature = hmac.digest(base64.b64decode(KEY), "\n".join(fields).encode(), hashlib.sha256)
    return urlencode(
        {
            "sv": "2021-12-02",
            "ss": "b",
            "srt": "co",
            "sp": "rwdlac",
            "se": expiry,
            "spr": "https,http",
            "sig": base64.b64encode(signature).decode(),
        }
    )
