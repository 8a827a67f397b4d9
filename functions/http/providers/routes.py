"""`/api/providers`: the providers an integration can be made for, with the JSON Schema of their configuration."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from domain.core.errors import NotFound
from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_MANAGE
from domain.core.principal import Principal
from domain.integrations.access import reaches_own_only
from domain.integrations.commands import TypeName
from domain.integrations.oauth_apps import OAuthApps
from domain.providers.contract import IntegrationType, Provider
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import View
from infra.app.build import hub, use

providers = Resource(
    "providers", tag="Integrations", permission=INTEGRATION_MANAGE, own_permission=CALENDAR_CONNECT
)


class OAuthView(View):
    authorize_url: str
    scopes: list[str]
    has_app: bool = Field(
        description="The installation has an OAuth app of its own: `clientId` and `clientSecret` may be left out"
    )


class ProviderView(View):
    name: str
    title: str
    integration_type: TypeName
    is_enabled: bool = Field(description="false: integrations of this type are switched off here")
    documentation_url: str
    capabilities: list[str]
    oauth: OAuthView | None = Field(alias="oauth", description="Authorised by the user in the browser")
    webhook_scheme: str | None = Field(description="How its incoming webhooks are signed")
    webhook_fields: list[str] = Field(
        description="Properties of `configuration` without which no incoming webhook is taken"
    )
    notes: str
    configuration_schema: dict[str, Any] = Field(
        description="JSON Schema 2020-12 of `configuration`; secret fields carry `secret: true`"
    )


class ProvidersView(View):
    items: list[ProviderView]


@providers.get(response=ProvidersView)
def list_providers(call: Call) -> ApiResponse:
    """List providers.

    Who has only `calendar:connect` sees the calendars."""
    found = hub().catalogue.providers.values()
    seen = [_view(provider) for provider in found if _is_seen(call.principal, provider)]
    return ApiResponse(ProvidersView(items=seen))


@providers.get("{name}", response=ProviderView)
def get_provider(call: Call) -> ApiResponse:
    """Get a provider with the JSON Schema of its configuration."""
    provider = hub().catalogue.get(call.request.route_params["name"])
    if not _is_seen(call.principal, provider):
        raise NotFound("There is no such provider; see GET /api/providers.")
    return ApiResponse(_view(provider))


def _is_seen(principal: Principal, provider: Provider) -> bool:
    is_calendar = provider.profile.integration_type == IntegrationType.CalendarSync
    return is_calendar or not reaches_own_only(principal, INTEGRATION_MANAGE)


def _view(provider: Provider) -> ProviderView:
    profile, apps = provider.profile, use(OAuthApps)
    return ProviderView(
        name=profile.name,
        title=profile.title,
        integration_type=profile.integration_type.name,
        is_enabled=profile.integration_type not in hub().catalogue.disabled_types,
        documentation_url=profile.documentation_url,
        capabilities=sorted(capability.value for capability in profile.capabilities),
        oauth=OAuthView(
            authorize_url=profile.oauth.authorize_url,
            scopes=list(profile.oauth.scopes),
            has_app=apps.has(profile),
        )
        if profile.oauth
        else None,
        webhook_scheme=profile.webhook_scheme,
        webhook_fields=list(profile.webhook_fields),
        notes=profile.notes,
        configuration_schema=apps.schema_of(profile),
    )
