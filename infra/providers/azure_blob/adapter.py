"""Azure Blob Storage over REST, with the account key or a shared access signature.

https://learn.microsoft.com/rest/api/storageservices/list-blobs, .../put-blob, .../delete-blob
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes (403 AuthenticationFailed: wrong key)
https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema (validationCode)
https://learn.microsoft.com/azure/event-grid/security-authentication (secret as query parameter or delivery property)
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import Annotated
from uuid import uuid4

from pydantic import Field, field_validator, model_validator

from domain.providers.contract import (
    DESTINATION,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    Secret,
    TestOptions,
    TestResult,
)
from infra.providers._kit import trial
from infra.providers._kit.event_grid import event_grid_answer, event_grid_secret
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.signatures import check_equal, required_secret
from infra.providers._kit.wire import (
    CAPABILITIES,
    root_tag,
)
from infra.providers.azure_blob.records import API, AzureBlobs, container_request, listed


class AzureBlobConfiguration(Configuration):
    """One container, and either the account key or a SAS that may read, add, write, delete and list in it."""

    account_name: Annotated[str, DESTINATION] = Field(
        pattern=r"^[a-z0-9]{3,24}$", description="Storage account"
    )
    container: str = Field(pattern=r"^(\$root|[a-z0-9][a-z0-9-]{1,61}[a-z0-9])$", description="Container")
    account_key: str | None = Secret("Account key (base64)", default=None, max_length=200)
    sas_token: str | None = Secret(
        "Shared access signature of the account or the container", default=None, max_length=2000
    )
    event_secret: str | None = Secret(
        "Secret that Event Grid sends: `?secret=` in the endpoint's address, or the delivery property x-webhook-secret",
        travels=False,
        default=None,
        min_length=16,
        max_length=200,
    )
    base_url: BaseUrl | None = Field(
        None, description="Blob service; unset: https://<account>.blob.core.windows.net"
    )

    @property
    def address(self) -> str:
        """The address of the container."""
        base = self.base_url or f"https://{self.account_name}.blob.core.windows.net"
        return f"{base}/{self.container}"

    @field_validator("account_key")
    @classmethod
    def _is_base64(cls, value: str | None) -> str | None:
        try:
            base64.b64decode(value or "", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("must be base64") from None
        return value

    @model_validator(mode="after")
    def _one_credential(self) -> AzureBlobConfiguration:
        if bool(self.account_key) == bool(self.sas_token):
            raise ValueError("give either accountKey or sasToken")
        return self


class AzureBlob(Provider):
    """Blobs of one container."""

    profile = ProviderProfile(
        name="AzureBlob",
        title="Azure Blob Storage",
        integration_type=IntegrationType.Storage,
        documentation_url="https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api",
        configuration=AzureBlobConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="event-grid-secret",
        webhook_fields=("eventSecret",),
        notes="Event Grid signs nothing: the endpoint's address, or a delivery property, carries a secret.",
    )
    streams = AzureBlobs()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """List one blob: proves the account, the credential, the container and the permission to list."""
        await _list_one(connection)
        configuration: AzureBlobConfiguration = connection.configuration
        by = "account key" if configuration.account_key else "shared access signature"
        return CredentialCheck(
            f"{configuration.account_name}/{configuration.container}", detail=f"Through {by}"
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Write a small blob and delete it."""
        name = f"integration-hub-test-{uuid4().hex}.txt"
        put = container_request(
            connection,
            "PUT",
            f"/{name}",
            headers={"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"},
            payload=trial.TITLE.encode(),
        )
        undo = container_request(connection, "DELETE", f"/{name}")
        expect = partial(API.expect, connection)
        await trial.create(expect, put, undo)
        await trial.delete(expect, undo, f"The blob {name}")
        return trial.made_and_deleted("Wrote a blob", name)

    async def probe(self, connection: Connection) -> None:
        await _list_one(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Compare the secret, then answer the handshake or name the events."""
        secret = required_secret(connection.configuration.event_secret)
        check_equal(event_grid_secret(request), secret, "secret")
        return event_grid_answer(request)


async def _list_one(connection: Connection) -> None:
    query = [("restype", "container"), ("comp", "list"), ("maxresults", "1")]
    response = await listed(connection, query)
    if await connection.read(len(response.body), root_tag, response) != "EnumerationResults":
        raise ProviderFailure("malformed", "The answer is not a list of blobs.", status=response.status)


PROVIDER = AzureBlob()
