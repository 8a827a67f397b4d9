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

from functools import partial
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IntegrationType,
    Provider,
    ProviderProfile,
    ProviderRequest,
    Secret,
    TestOptions,
    TestResult,
)
from domain.providers.oauth_profile import OAuthProfile
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.wire import document, segment, text_at
from infra.providers.salesforce.records import API, SalesforceContacts, api_request

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


class Salesforce(Provider):
    """Contacts of one Salesforce org."""

    profile = ProviderProfile(
        name="Salesforce",
        title="Salesforce",
        integration_type=IntegrationType.CRM,
        documentation_url="https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/",
        configuration=SalesforceConfiguration,
        capabilities=frozenset(Capability) - {Capability.IncomingWebhooks},
        oauth=OAuthProfile(
            authorize_url="{login_url}/services/oauth2/authorize",
            token_url="{login_url}/services/oauth2/token",  # noqa: S106 - an address
            scopes=("api", "refresh_token"),
            revoke_url="{login_url}/services/oauth2/revoke",
        ),
        notes="Salesforce sends no signed webhooks; changes are read by the sync. The contact of the connection "
        "test goes to the recycle bin, as every deleted record does.",
    )
    streams = SalesforceContacts()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the org's name: proves the token, the address and the permission to use the API."""
        found = document(await API.expect(connection, _organization(connection)))
        name, org = text_at(found, "records", 0, "Name"), text_at(found, "records", 0, "Id")
        sandbox = found["records"][0].get("IsSandbox")
        return CredentialCheck(
            account=name,
            detail=f"Org {org}",
            test_mode=sandbox if isinstance(sandbox, bool) else None,
            identity=org,
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create a contact without an address and delete it."""
        expect = partial(API.expect, connection)
        name = {"FirstName": "Connection", "LastName": f"Test {uuid4().hex[:8]}"}
        created = await expect(api_request(connection, "POST", "/sobjects/Contact", json=name), 201)
        contact = text_at(document(created), "id")
        undo = api_request(connection, "DELETE", f"/sobjects/Contact/{segment(contact)}")
        await trial.delete(expect, undo, f"The contact {contact}")
        return trial.made_and_deleted("Created a contact", contact)

    async def probe(self, connection: Connection) -> None:
        text_at(document(await API.expect(connection, _organization(connection))), "records", 0, "Id")


def _organization(connection: Connection) -> ProviderRequest:
    return api_request(connection, "GET", "/query", params={"q": _ORGANIZATION})


PROVIDER = Salesforce()
