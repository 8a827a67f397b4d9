"""OAuth grants as they go over the wire; no token is in any of them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from domain.core.text_length import TextConstraints
from domain.oauth.model import GrantStatus, OAuthConnection
from functions.http.kit.views import Moment, Query, View


class AuthorizationView(View):
    authorize_url: str = Field(description="Send the user's browser here")
    expires_at: Moment = Field(description="The provider's redirect is accepted until then")


class GrantView(View):
    integration_id: UUID
    status: Literal["None", "Active", "Revoked"] = Field(description="`None`: never authorised")
    integration_status: Literal["Draft", "PendingValidation", "Active", "Suspended", "Disconnected", "Error"]
    scopes: list[str] = Field(description="Scopes that were granted")
    missing_scopes: list[str] = Field(description="Scopes that were requested but not granted")
    renewable: bool | None = Field(
        description="False without a refresh token: authorise again before it expires"
    )
    authorized_at: Moment | None
    authorized_by: UUID | None
    expires_at: Moment | None = Field(description="Expiry of the current access token")
    refreshed_at: Moment | None
    failed_refreshes: int = Field(description="Failed refreshes in a row")
    revoked_at_provider: bool | None = Field(
        description="Whether the provider confirmed the revocation; null before that, or without an endpoint for it"
    )


class CallbackQuery(Query):
    state: Annotated[str, TextConstraints(max_length=200)] = Field(
        "", description="The `state` of the authorisation request"
    )
    code: str = Field("", description="The authorization code")
    error: str = Field("", description="Error code in place of a `code` (RFC 6749 section 4.1.2.1)")


def grant_view(connected: OAuthConnection) -> GrantView:
    """Return what is known about an integration's grant."""
    integration, grant = connected.integration, connected.grant
    is_active = grant is not None and grant.status == GrantStatus.Active
    return GrantView(
        integration_id=integration.integration_id,
        status="None" if grant is None else grant.status.value,
        integration_status=integration.status.name,
        scopes=list(grant.scopes) if grant else [],
        missing_scopes=list(grant.missing_scopes) if grant else [],
        renewable=grant.renewable if grant else None,
        authorized_at=grant.authorized_at if grant else None,
        authorized_by=grant.user_id if grant else None,
        expires_at=grant.expires_at if grant and is_active else None,
        refreshed_at=grant.refreshed_at if grant else None,
        failed_refreshes=grant.failures if grant else 0,
        revoked_at_provider=connected.revoked_at_provider,
    )
