"""A REST API that no adapter knows, described by its configuration.

RFC 6749 section 4.4 (client credentials), RFC 6750 (bearer), RFC 7617 (basic), RFC 6901 (pointers).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from domain.providers.contract import (
    Capability,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
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
from infra.providers._kit.signatures import (
    check_basic,
    check_equal,
    check_github,
    check_slack,
    check_standard_webhooks,
    digest_id,
    required_header,
    required_secret,
)
from infra.providers._kit.wire import basic, document, event_type, segment, signed_json, text_at
from infra.providers.custom_rest import records as listing
from infra.providers.custom_rest.configuration import CustomRestConfiguration, TestRequest
from infra.providers.custom_rest.records import value_at as found_at


class CustomRest:
    """Implements Provider for whatever its configuration describes."""

    profile: ClassVar[ProviderProfile] = ProviderProfile(
        name="REST",
        title="Custom REST API",
        integration_type=IntegrationType.CustomAPI,
        documentation_url="https://www.rfc-editor.org/rfc/rfc9110",
        configuration=CustomRestConfiguration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.IncomingWebhooks,
                Capability.Import,
            )
        ),
        webhook_scheme="declared",
        webhook_fields=("webhook", "webhookSecret"),
        notes="The signature scheme of webhooks is part of the configuration.",
    )

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Call the health path with the credentials. An API that lets everyone in cannot prove them."""
        account = await _health(connection)
        if connection.configuration.auth == "none":
            return CredentialCheck(account, verified=False, detail="The API is called without credentials")
        return CredentialCheck(account, detail=f"Authenticated with {connection.configuration.auth}")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """The declared round trip, undone where an undo is declared; else the health path."""
        del options
        declared: TestRequest | None = connection.configuration.test_request
        if declared is None:
            await _health(connection)
            return TestResult((TestStep("health", f"{connection.configuration.health_path} answered"),))
        request = await _authorized(connection, declared.method, declared.path, declared.body)
        response = await connection.http.expect(request, *declared.statuses)
        created = TestStep("request", f"{declared.method} {declared.path} answered {response.status}")
        if declared.undo_path is None:
            return TestResult((created,))
        reference = ""
        if declared.id_pointer is not None:
            reference = text_at({"id": found_at(response.json(), declared.id_pointer)}, "id")
        path = declared.undo_path.replace("{id}", segment(reference))
        undo = replace(await _authorized(connection, declared.undo_method, path), idempotent=True)
        await trial.delete(connection.http.expect, undo, f"The test record {reference}".rstrip())
        undone = TestStep("undo", "Deleted what the request made", reference or None)
        return TestResult((replace(created, reference=reference or None), undone))

    async def probe(self, connection: Connection) -> None:
        await _health(connection)

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return listing.streams(configuration)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return {"fields": dict(record.data)}

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        """One page of the declared list."""
        configuration: CustomRestConfiguration = connection.configuration
        wanted = configuration.list_request
        if wanted is None:
            raise ProviderFailure("rejected", "This integration declares no list.")
        base = await _authorized(connection, "GET", wanted.path)
        asked, position = listing.request_for(wanted, base, request)
        response = await connection.http.expect(asked, 200, *((404,) if position.get("at") else ()))
        return listing.page_of(configuration, position, response)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        raise ProviderFailure("rejected", "A declared API takes no records from here.")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Verify by the declared scheme. An event without an id of its own is known by what was signed."""
        configuration: CustomRestConfiguration = connection.configuration
        if configuration.webhook is None:
            raise ProviderFailure("rejected", "This integration declares no webhooks.")
        signed_id = _verify(configuration, request)
        body = signed_json(request.body)
        if not isinstance(body, dict):
            raise SignatureRefused("The body is not a JSON object.")
        declared = configuration.webhook
        event_id = _named(body, declared.event_id_pointer) or signed_id or digest_id(request.body)
        kind = _named(body, declared.event_type_pointer) or "event"
        return IncomingAnswer((VerifiedEvent(event_id, event_type(kind), body),))


async def _health(connection: Connection) -> str:
    """The account the health answer names, else the host."""
    configuration: CustomRestConfiguration = connection.configuration
    response = await connection.http.expect(await _authorized(connection, "GET", configuration.health_path))
    if configuration.account_pointer is None:
        return urlsplit(configuration.base_url).hostname or ""
    return text_at({"account": found_at(response.json(), configuration.account_pointer)}, "account")


async def _authorized(
    connection: Connection, method: str, path: str, body: dict[str, Any] | None = None
) -> ProviderRequest:
    """A request with the configured headers and credentials."""
    configuration: CustomRestConfiguration = connection.configuration
    request = ProviderRequest(
        method,
        f"{configuration.base_url}{path}",
        headers={"accept": "application/json", **configuration.headers},
        json=body,
    )
    match configuration.auth:
        case "apiKey" if configuration.api_key_in == "query":
            return replace(request, params={configuration.api_key_name: configuration.api_key or ""})
        case "apiKey":
            credential = {configuration.api_key_name: configuration.api_key or ""}
        case "basic":
            credential = {"authorization": basic(configuration.username or "", configuration.password or "")}
        case "bearer":
            credential = {"authorization": f"Bearer {configuration.bearer_token}"}
        case "clientCredentials":
            credential = {"authorization": f"Bearer {await _client_token(connection)}"}
        case _:
            return request
    return replace(request, headers={**request.headers, **credential})


async def _client_token(connection: Connection) -> str:
    configuration: CustomRestConfiguration = connection.configuration
    client, secret = configuration.client_id or "", configuration.client_secret or ""
    form, headers = {"grant_type": "client_credentials"}, {"accept": "application/json"}
    if configuration.scope:
        form["scope"] = configuration.scope
    if configuration.client_authentication == "basic":
        # RFC 6749 section 2.3.1: form-encoded before they are joined.
        headers["authorization"] = basic(quote(client, safe=""), quote(secret, safe=""))
    else:
        form |= {"client_id": client, "client_secret": secret}
    request = ProviderRequest(
        "POST", configuration.token_url or "", headers=headers, form=form, idempotent=True
    )
    response = await connection.http.expect(request, 200, 400)
    if response.status == 400:  # RFC 6749 section 5.2: a client that is refused
        raise ProviderFailure("unauthorized", _oauth_error(response.body), status=400)
    return text_at(document(response), "access_token")


def _oauth_error(body: bytes) -> str:
    try:
        code = found_at(json.loads(body), "/error")
    except (ValueError, RecursionError):
        code = None
    shown = code if isinstance(code, str) and code.isidentifier() else "no reason given"
    return f"The token endpoint refused the client: {shown}."


def _verify(configuration: CustomRestConfiguration, request: IncomingRequest) -> str | None:
    """The message id, where the scheme signs one. Raises SignatureRefused."""
    declared = configuration.webhook
    assert declared is not None
    secret = required_secret(configuration.webhook_secret)
    headers, body, now = request.headers, request.body, request.received_at
    match declared.scheme:
        case "standardWebhooks":
            return check_standard_webhooks([secret], headers, body, now)
        case "github":
            check_github([secret], headers, body)
        case "slack":
            check_slack([secret], headers, body, now)
        case "token":
            check_equal(required_header(headers, declared.header), secret, "token")
        case "basic":
            check_basic(headers, declared.username, secret)
        case "hmac":
            declared.hmac_scheme().check([secret], headers, body, now, url=request.url, method=request.method)
            return headers.get(declared.id_header.lower()) if declared.id_header else None
    return None


def _named(body: dict[str, Any], pointer: str | None) -> str | None:
    value = found_at(body, pointer) if pointer is not None else None
    return (
        str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )


PROVIDER: Provider = CustomRest()
