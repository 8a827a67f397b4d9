"""Outlook calendars through Microsoft Graph v1.0.

https://learn.microsoft.com/graph/api/user-get, https://learn.microsoft.com/graph/api/user-post-events
https://learn.microsoft.com/graph/api/event-permanentdelete (not in the US Government clouds)
https://learn.microsoft.com/graph/change-notifications-delivery-webhooks (validationToken within 10 s, clientState)
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    DESTINATION,
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderProfile,
    ProviderRequest,
    Secret,
    SignatureRefused,
    TestOptions,
    TestResult,
    VerifiedEvent,
)
from domain.providers.oauth_profile import OAuthProfile
from infra.providers._kit import trial
from infra.providers._kit.contents import EVENTS_AT_MOST
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.signatures import check_equal, digest_id, required_secret
from infra.providers._kit.wire import (
    CAPABILITIES,
    bearer,
    document,
    event_type,
    segment,
    signed_json,
    text_at,
)
from infra.providers.outlook_calendar.records import OutlookEvents, calendar_url

_TOKEN_MAX = 2048
_GONE = (204, 404, 410)


class OutlookConfiguration(Configuration):
    """An app registration in Microsoft Entra ID and the mailbox calendar to keep in step."""

    client_id: str = Field(min_length=1, max_length=200, description="Application (client) id")
    client_secret: str = Secret("Client secret", min_length=1, max_length=300)
    tenant: Annotated[str, DESTINATION] = Field(
        "common",
        pattern=r"^[A-Za-z0-9.-]{1,200}$",
        description="Directory (tenant) id, or `common`, `organizations`, `consumers`",
    )
    calendar_id: str | None = Field(
        None, max_length=500, description="Calendar id; unset: the default calendar"
    )
    client_state: str | None = Secret(
        "`clientState` of the Graph subscription; every notification must carry it",
        travels=False,
        default=None,
        max_length=128,
    )
    sync_window_past_days: int = Field(
        30, ge=0, le=1_825, description="Days before today from which events are synchronised"
    )
    sync_window_future_days: int = Field(
        365, ge=1, le=1_825, description="Days after today up to which events are synchronised"
    )
    login_url: BaseUrl = Field("https://login.microsoftonline.com", description="Sign-in host of the cloud")
    base_url: BaseUrl = Field("https://graph.microsoft.com/v1.0", description="Microsoft Graph")


class OutlookCalendar(Provider):
    """Calendar events of one Microsoft 365 or Outlook.com account."""

    profile = ProviderProfile(
        name="Outlook",
        title="Microsoft Outlook",
        integration_type=IntegrationType.CalendarSync,
        documentation_url="https://learn.microsoft.com/graph/outlook-calendar-concept-overview",
        configuration=OutlookConfiguration,
        capabilities=CAPABILITIES | {Capability.Export, Capability.OAuth},
        oauth=OAuthProfile(
            authorize_url="{login_url}/{tenant}/oauth2/v2.0/authorize",
            token_url="{login_url}/{tenant}/oauth2/v2.0/token",  # noqa: S106 - an address
            scopes=("offline_access", "User.Read", "Calendars.ReadWrite"),
            revoked_errors=frozenset(("invalid_grant", "interaction_required")),
            scope_prefixes=(
                "https://graph.microsoft.com/",
                "https://graph.microsoft.us/",
                "https://dod-graph.microsoft.us/",
                "https://microsoftgraph.chinacloudapi.cn/",
            ),
        ),
        webhook_scheme="graph-client-state",
        webhook_fields=("clientState",),
        notes="The connection test deletes its event for good where the cloud allows it.",
    )
    streams = OutlookEvents()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        user = document(await connection.http.expect(_me(connection), 200))
        return CredentialCheck(
            account=text_at(user, "userPrincipalName"),
            detail=str(user.get("displayName") or ""),
            identity=text_at(user, "id"),
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create an event without attendees (so nobody is invited) and delete it."""
        http = connection.http
        created = document(await http.expect(_create(connection), 201))
        event_id = text_at(created, "id")
        url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
        erased = await http.send(
            ProviderRequest("POST", f"{url}/permanentDelete", headers=bearer(connection), idempotent=True)
        )
        if erased.status not in _GONE:
            await trial.delete(
                http.expect,
                ProviderRequest("DELETE", url, headers=bearer(connection)),
                f"The event {event_id}",
            )
        return trial.made_and_deleted("Created an event without attendees", event_id)

    async def probe(self, connection: Connection) -> None:
        text_at(document(await connection.http.expect(_me(connection), 200)), "id")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Echo the token of a new subscription; otherwise every notification must carry the client state."""
        state = required_secret(connection.configuration.client_state)
        token = request.query.get("validationToken")
        if token is not None:
            if not 0 < len(token) <= _TOKEN_MAX:
                raise SignatureRefused("The validation token is empty or too long.")
            return IncomingAnswer(body=token.encode(), content_type="text/plain")
        body = signed_json(request.body)
        entries = body.get("value") if isinstance(body, dict) else None
        if not isinstance(entries, list) or not 0 < len(entries) <= EVENTS_AT_MOST:
            raise SignatureRefused("The body holds no notifications, or too many.")
        for entry in entries:
            check_equal(
                str(entry.get("clientState") or "") if isinstance(entry, dict) else "", state, "clientState"
            )
        return IncomingAnswer(tuple(_event(entry) for entry in entries))


def _me(connection: Connection) -> ProviderRequest:
    return ProviderRequest(
        "GET",
        f"{connection.configuration.base_url}/me",
        headers=bearer(connection),
        params={"$select": "id,displayName,userPrincipalName"},
    )


def _create(connection: Connection) -> ProviderRequest:
    start = connection.now
    return ProviderRequest(
        "POST",
        f"{calendar_url(connection)}/events",
        headers=bearer(connection),
        json={
            "subject": trial.TITLE,
            "start": {"dateTime": f"{start:%Y-%m-%dT%H:%M:%S}", "timeZone": "UTC"},
            "end": {"dateTime": f"{start + timedelta(minutes=15):%Y-%m-%dT%H:%M:%S}", "timeZone": "UTC"},
            "showAs": "free",
            "sensitivity": "private",
            "isReminderOn": False,
            # Graph recognises a repeated request by it, which makes repeating safe.
            "transactionId": str(uuid4()),
        },
        idempotent=True,
    )


def _event(entry: dict[str, Any]) -> VerifiedEvent:
    data = {name: value for name, value in entry.items() if name != "clientState"}
    # A notification has an id of its own only with resource data; the ETag inside tells two changes apart.
    event_id = data.get("id")
    if not isinstance(event_id, str):
        event_id = digest_id(json.dumps(data, sort_keys=True))
    lifecycle = data.get("lifecycleEvent")
    change = str(data.get("changeType") or "changed")
    kind = event_type("lifecycle", str(lifecycle)) if lifecycle else event_type("event", change)
    return VerifiedEvent(event_id, kind, data)


PROVIDER = OutlookCalendar()
