"""Salesforce REST API.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_query.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_sobject_create.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm (403 REQUEST_LIMIT_EXCEEDED)
https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_endpoints.htm
https://github.com/forcedotcom/SalesforceMobileSDK-Android/pull/2430 (userinfo answers 403 to an expired token)

`Organization` is read instead of `limits`, which needs the permission to view the setup, and instead of `userinfo`,
which answers 403 where other calls answer 401.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    OAuthProfile,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    ProviderResponse,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
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
from infra.providers._kit.wire import bearer, document, refusal_403, segment, text_at
from infra.providers.salesforce import records

_RATE_LIMITED = frozenset(("REQUEST_LIMIT_EXCEEDED",))
_ORGANIZATION = "SELECT Id, Name, OrganizationType, IsSandbox FROM Organization LIMIT 1"


class SalesforceConfiguration(Configuration):
    """A connected app or external client app, and the org's own address."""

    client_id: str = Field(min_length=1, max_length=300, description="Consumer key")
    client_secret: str = Secret("Consumer secret", min_length=1, max_length=300)
    instance_url: BaseUrl = Field(description="The org's address, https://<my-domain>.my.salesforce.com")
    login_url: BaseUrl = Field(
        "https://login.salesforce.com",
        description="Sign-in host; https://test.salesforce.com for sandboxes, or the org's own address",
    )
    external_id_field: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}__c$",
        description="Unique external id field of Contact for contacts created here; unset: the e-mail address",
    )
    api_version: str = Field("v62.0", pattern=r"^v[0-9]{2,3}\.0$", description="REST API version")


class Salesforce:
    """Contacts of one Salesforce org."""

    profile: ClassVar[ProviderProfile] = ProviderProfile(
        name="Salesforce",
        title="Salesforce",
        integration_type=IntegrationType.CRM,
        documentation_url="https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/",
        configuration=SalesforceConfiguration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.Import,
                Capability.Export,
                Capability.OAuth,
            )
        ),
        oauth=OAuthProfile(
            authorize_url="{login_url}/services/oauth2/authorize",
            token_url="{login_url}/services/oauth2/token",  # noqa: S106 - an address
            scopes=("api", "refresh_token"),
            revoke_url="{login_url}/services/oauth2/revoke",
        ),
        notes="Salesforce sends no signed webhooks; changes are read by the sync. The contact of the connection "
        "test goes to the recycle bin, as every deleted record does.",
    )

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the org's name: proves the token, the address and the permission to use the API."""
        found = document(await _expect(connection, _organization(connection)))
        name, org = text_at(found, "records", 0, "Name"), text_at(found, "records", 0, "Id")
        sandbox = found["records"][0].get("IsSandbox")
        return CredentialCheck(
            account=name,
            detail=f"Org {org}",
            test_mode=sandbox if isinstance(sandbox, bool) else None,
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create a contact without an address and delete it."""
        del options

        async def expect(request: ProviderRequest, *statuses: int) -> ProviderResponse:
            return await _expect(connection, request, *statuses)

        name = {"FirstName": "Connection", "LastName": f"Test {uuid4().hex[:8]}"}
        created = await expect(_request(connection, "POST", "/sobjects/Contact", json=name), 201)
        contact = text_at(document(created), "id")
        undo = _request(connection, "DELETE", f"/sobjects/Contact/{segment(contact)}")
        await trial.delete(expect, undo, f"The contact {contact}")
        return TestResult(
            (
                TestStep("create", "Created a contact", contact),
                TestStep("delete", "Deleted it again", contact),
            )
        )

    async def probe(self, connection: Connection) -> None:
        text_at(document(await _expect(connection, _organization(connection))), "records", 0, "Id")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        del connection, request
        raise ProviderFailure("rejected", "Salesforce sends no signed webhooks.")

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        del configuration
        return records.STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        del stream
        return records.to_internal(record)

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        return await _CONTACTS.list_records(connection, request)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        return await _CONTACTS.push_record(connection, request)


def _organization(connection: Connection) -> ProviderRequest:
    return _request(connection, "GET", "/query", params={"q": _ORGANIZATION})


def _request(
    connection: Connection, method: str, path: str, *, params: dict[str, str] | None = None, json: Any = None
) -> ProviderRequest:
    configuration: SalesforceConfiguration = connection.configuration
    url = f"{configuration.instance_url}/services/data/{configuration.api_version}{path}"
    return ProviderRequest(method, url, headers=bearer(connection), params=params or {}, json=json)


async def _expect(connection: Connection, request: ProviderRequest, *statuses: int) -> ProviderResponse:
    """As ProviderHttp.expect; a 403 that means a spent daily quota is rate_limited."""
    response = await connection.http.expect(request, *(statuses or (200,)), 403)
    if response.status != 403:
        return response
    try:
        code = text_at(response.json(), 0, "errorCode")
    except ProviderFailure:
        code = ""
    raise refusal_403(connection, response, code, rate_limited=_RATE_LIMITED)


_CONTACTS = records.SalesforceContacts(_expect)

PROVIDER: SyncingProvider = Salesforce()
