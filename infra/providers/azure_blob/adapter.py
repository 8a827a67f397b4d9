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
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qsl
from uuid import uuid4

from pydantic import Field, field_validator, model_validator

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    ProviderResponse,
    Secret,
    SignatureRefused,
    TestOptions,
    TestResult,
    TestStep,
    VerifiedEvent,
)
from domain.providers.records import (
    ListPage,
    ListRequest,
    PushRequest,
    PushResult,
    SourceRecord,
    StreamProfile,
)
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.paging import SyncingProvider
from infra.providers._kit.signatures import check_equal, required_secret
from infra.providers._kit.storage_signing import encoded_query, sign_azure
from infra.providers._kit.wire import (
    at,
    error_code,
    event_type,
    moment,
    refusal_403,
    signed_objects,
    text_at,
    xml_document,
)
from infra.providers.azure_blob import records

_VERSION = "2021-12-02"
_UNAUTHORIZED = frozenset(
    ("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation")
)
_VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_SECRET_HEADER = "x-webhook-secret"  # noqa: S105 - a name


class AzureBlobConfiguration(Configuration):
    """One container, and either the account key or a SAS that may read, add, write, delete and list in it."""

    account_name: str = Field(pattern=r"^[a-z0-9]{3,24}$", description="Storage account")
    container: str = Field(pattern=r"^(\$root|[a-z0-9][a-z0-9-]{1,61}[a-z0-9])$", description="Container")
    account_key: str | None = Secret("Account key (base64)", default=None, max_length=200)
    sas_token: str | None = Secret(
        "Shared access signature of the account or the container", default=None, max_length=2000
    )
    event_secret: str | None = Secret(
        "Secret that Event Grid sends: `?secret=` in the endpoint's address, or the delivery property x-webhook-secret",
        default=None,
        min_length=16,
        max_length=200,
    )
    base_url: BaseUrl | None = Field(
        None, description="Blob service; unset: https://<account>.blob.core.windows.net"
    )

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


class AzureBlob:
    """Blobs of one container."""

    profile: ClassVar[ProviderProfile] = ProviderProfile(
        name="AzureBlob",
        title="Azure Blob Storage",
        integration_type=IntegrationType.Storage,
        documentation_url="https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api",
        configuration=AzureBlobConfiguration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.IncomingWebhooks,
                Capability.Import,
            )
        ),
        webhook_scheme="event-grid-secret",
        webhook_fields=("eventSecret",),
        notes="Event Grid signs nothing: the endpoint's address, or a delivery property, carries a secret.",
    )

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
        del options
        name = f"integration-hub-test-{uuid4().hex}.txt"
        put = _request(
            connection,
            "PUT",
            f"/{name}",
            headers={"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"},
            payload=trial.TITLE.encode(),
        )
        undo = _request(connection, "DELETE", f"/{name}")

        async def expect(request: ProviderRequest, *statuses: int) -> ProviderResponse:
            return await _expect(connection, request, *statuses)

        await trial.create(expect, put, undo)
        await trial.delete(expect, undo, f"The blob {name}")
        return TestResult(
            (TestStep("create", "Wrote a blob", name), TestStep("delete", "Deleted it again", name))
        )

    async def probe(self, connection: Connection) -> None:
        await _list_one(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Compare the secret, then answer the handshake or name the events (Event Grid schema)."""
        secret = required_secret(connection.configuration.event_secret)
        given = request.headers.get(_SECRET_HEADER) or request.query.get("secret") or ""
        check_equal(given, secret, "secret")
        entries = signed_objects(request.body)
        if entries[0].get("eventType") == _VALIDATION:
            code = at(entries[0], "data", "validationCode")
            if not isinstance(code, str) or not code:
                raise SignatureRefused("The handshake has no validation code.")
            return IncomingAnswer(
                body=json.dumps({"validationResponse": code}).encode(), content_type="application/json"
            )
        return IncomingAnswer(
            tuple(
                VerifiedEvent(
                    text_at(entry, "id"),
                    event_type(text_at(entry, "eventType")),
                    entry,
                    moment(entry.get("eventTime")),
                )
                for entry in entries
            )
        )

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        del configuration
        return records.STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        del stream
        return records.to_internal(record)

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        return await records.list_blobs(connection, request, _listed, _container(connection))

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        del connection
        raise ProviderFailure("rejected", f"The stream {request.stream} takes no records.")


async def _list_one(connection: Connection) -> None:
    query = [("restype", "container"), ("comp", "list"), ("maxresults", "1")]
    response = await _listed(connection, query)
    if xml_document(response).tag != "EnumerationResults":
        raise ProviderFailure("malformed", "The answer is not a list of blobs.", status=response.status)


async def _listed(connection: Connection, query: list[tuple[str, str]]) -> ProviderResponse:
    return await _expect(connection, _request(connection, "GET", "", query), 200)


def _container(connection: Connection) -> str:
    configuration: AzureBlobConfiguration = connection.configuration
    base = configuration.base_url or f"https://{configuration.account_name}.blob.core.windows.net"
    return f"{base}/{configuration.container}"


def _request(
    connection: Connection,
    method: str,
    path: str,
    query: list[tuple[str, str]] | None = None,
    *,
    headers: dict[str, str] | None = None,
    payload: bytes = b"",
) -> ProviderRequest:
    configuration: AzureBlobConfiguration = connection.configuration
    account = configuration.account_name
    url = f"{_container(connection)}{path}"
    query = list(query or ())
    sent = {"x-ms-version": _VERSION, **(headers or {})}
    if configuration.account_key is not None:
        key = base64.b64decode(configuration.account_key)
        sent = sign_azure(account, key, method, url, query, sent, payload, connection.now)
    else:
        query += parse_qsl((configuration.sas_token or "").lstrip("?"), keep_blank_values=True)
    if query:
        url = f"{url}?{encoded_query(query)}"
    return ProviderRequest(method, url, headers=sent, body=payload)


async def _expect(connection: Connection, request: ProviderRequest, *statuses: int) -> ProviderResponse:
    """As ProviderHttp.expect; a 403 for a wrong key or expired signature is unauthorized."""
    response = await connection.http.expect(request, *(statuses or (200, 201)), 403)
    if response.status == 403:
        raise refusal_403(connection, response, error_code(response), unauthorized=_UNAUTHORIZED)
    return response


PROVIDER: SyncingProvider = AzureBlob()
