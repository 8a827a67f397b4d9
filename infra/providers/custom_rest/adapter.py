"""A REST API that no adapter knows, described by its configuration.

RFC 6749 section 4.4 (client credentials), RFC 6750 (bearer), RFC 7617 (basic), RFC 6901 (pointers).
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from domain.providers.contract import (
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    TestOptions,
    TestResult,
    TestStep,
)
from infra.providers._kit import trial
from infra.providers._kit.refusal import masked
from infra.providers._kit.wire import (
    CAPABILITIES,
    basic,
    segment,
    text_at,
)
from infra.providers.custom_rest.configuration import CustomRestConfiguration, TestRequest
from infra.providers.custom_rest.records import RestRecords, authorized, value_at
from infra.providers.custom_rest.webhook import declared_answer


class CustomRest(Provider):
    """Whatever the configuration describes."""

    profile = ProviderProfile(
        name="REST",
        title="Custom REST API",
        integration_type=IntegrationType.CustomAPI,
        documentation_url="https://www.rfc-editor.org/rfc/rfc9110",
        configuration=CustomRestConfiguration,
        capabilities=CAPABILITIES,
        webhook_scheme="declared",
        webhook_fields=("webhook", "webhookSecret"),
        notes="The signature scheme of webhooks is part of the configuration.",
    )
    streams = RestRecords()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Call the health path with the credentials. An API that lets everyone in cannot prove them."""
        account = await _health(connection)
        if connection.configuration.auth == "none":
            return CredentialCheck(account, verified=False, detail="The API is called without credentials")
        return CredentialCheck(account, detail=f"Authenticated with {connection.configuration.auth}")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Make the declared round trip, undone where an undo is declared; else call the health path."""
        declared: TestRequest | None = connection.configuration.test_request
        if declared is None:
            await _health(connection)
            return TestResult((TestStep("health", f"{connection.configuration.health_path} answered"),))
        request = await authorized(connection, declared.method, declared.path, declared.body)
        response = await connection.http.expect(request, *declared.statuses)
        created = TestStep("request", f"{declared.method} {declared.path} answered {response.status}")
        if declared.undo_path is None:
            return TestResult((created,))
        reference = ""
        if declared.id_pointer is not None:
            found = text_at({"id": value_at(response.json(), declared.id_pointer)}, "id")
            reference = _without_credentials(connection, found)
        path = declared.undo_path.replace("{id}", segment(reference))
        undo = replace(await authorized(connection, declared.undo_method, path), idempotent=True)
        await trial.delete(connection.http.expect, undo, f"The test record {reference}".rstrip())
        undone = TestStep("undo", "Deleted what the request made", reference or None)
        return TestResult((replace(created, reference=reference or None), undone))

    async def probe(self, connection: Connection) -> None:
        await _health(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Verify by the declared scheme, and read whatever the body is."""
        configuration: CustomRestConfiguration = connection.configuration
        if configuration.webhook is None:
            raise ProviderFailure("rejected", "This integration declares no webhooks.")
        return declared_answer(configuration, request)


async def _health(connection: Connection) -> str:
    """Return the account the health answer names, else the host."""
    configuration: CustomRestConfiguration = connection.configuration
    response = await connection.http.expect(await authorized(connection, "GET", configuration.health_path))
    if configuration.account_pointer is None:
        return urlsplit(configuration.base_url).hostname or ""
    account = text_at({"account": value_at(response.json(), configuration.account_pointer)}, "account")
    return _without_credentials(connection, account)


def _without_credentials(connection: Connection, shown: str) -> str:
    """Return what an answer holds at a declared place, masked where the API echoes the request's credentials there."""
    configuration: CustomRestConfiguration = connection.configuration
    secrets = (
        configuration.api_key,
        configuration.password,
        configuration.bearer_token,
        configuration.client_secret,
        basic(configuration.username or "", configuration.password or "").removeprefix("Basic "),
    )
    return masked(shown, [secret for secret in secrets if secret])


PROVIDER = CustomRest()
