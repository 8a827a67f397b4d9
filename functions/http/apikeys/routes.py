"""`/api/apikeys` (section 5.2)."""

from __future__ import annotations

from domain.apikeys.model import CreateApiKey, RevokeApiKey, RotateApiKey, UpdateApiKey, VerifyApiKey
from domain.core.permissions import INTEGRATION_MANAGE
from functions.http.apikeys.views import (
    ApiKeyPage,
    ApiKeyQuery,
    ApiKeyView,
    IssuedApiKeyView,
    RevokeQuery,
    ScopesView,
    UsageQuery,
    UsageView,
    VerifiedView,
    issued_view,
    key_view,
    scopes_view,
    usage_view,
    verified_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from infra.app.build import hub

apikeys = Resource("apikeys", tag="API keys", permission=INTEGRATION_MANAGE)


@apikeys.post(body=CreateApiKey, response=IssuedApiKeyView, status=201, refusals=(409,))
def create_api_key(call: Call) -> ApiResponse:
    """Issue an API key.

    The answer carries the key, once; only its hash is kept. A key can do no more than whoever creates it: a
    user gives it permissions they have, and any scope of the platform's other modules; a key gives only scopes
    of its own. At most 100 keys of a tenant are active (BR-AK-03)."""
    issued = hub().api_keys.create(call.principal, call.body(CreateApiKey))
    return ApiResponse(
        issued_view(issued, hub().clock.now()),
        status=201,
        location=apikeys.location(issued.key.api_key_id),
        version=issued.key.version,
    )


@apikeys.get(query=ApiKeyQuery, response=ApiKeyPage)
def list_api_keys(call: Call) -> ApiResponse:
    """List API keys.

    Oldest first; revoked and expired ones stay listed."""
    query = call.query(ApiKeyQuery)
    page = hub().api_keys.page(call.principal, query.to_filter(), query.page_request())
    now = hub().clock.now()
    return ApiResponse(page_of(page, lambda key: key_view(key, now), ApiKeyPage))


@apikeys.get("scopes", response=ScopesView)
def list_scopes(call: Call) -> ApiResponse:
    """List the scopes there are.

    The hub's own permissions, and those of the platform's other modules that it knows of."""
    settings, principal = hub().settings, call.principal
    return ApiResponse(
        scopes_view(
            principal.permissions,
            settings.api_key_scopes.split(),
            closed=settings.api_key_scopes_closed,
            is_key=principal.api_key_id is not None,
        )
    )


@apikeys.post("verify", body=VerifyApiKey, response=VerifiedView)
async def verify_api_key(call: Call) -> ApiResponse:
    """Ask whether a key is good.

    For services that are given keys. Always 200 for a well-formed question; a good key is charged one request
    of its quota, because the question stands for one (`consume: false` is free). Keys of other tenants are
    NOT_FOUND, except to callers with `apikey:verify`, who learn VALID or INVALID. Nothing is cached, so a revoked
    key is REVOKED at once."""
    command = call.body(VerifyApiKey)
    return ApiResponse(verified_view(await hub().key_verification.verify(call.principal, command)))


@apikeys.get("{id}", response=ApiKeyView)
def get_api_key(call: Call) -> ApiResponse:
    """Get an API key.

    The `ETag` names its version, for `If-Match`."""
    key = hub().api_keys.get(call.principal, call.id())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.put("{id}", body=UpdateApiKey, response=ApiKeyView, refusals=(409, 412))
def update_api_key(call: Call) -> ApiResponse:
    """Restrict or rename an API key.

    The fields sent replace, the others stay. Scopes can be taken away, not added (BR-AK-06); the rate limit may
    go either way and holds from the next request. A revoked or expired key does not change (BR-AK-07)."""
    key = hub().api_keys.update(call.principal, call.id(), call.body(UpdateApiKey), call.if_match())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.delete(
    "{id}", query=RevokeQuery, body=RevokeApiKey, body_is_optional=True, status=204, refusals=(412,)
)
def revoke_api_key(call: Call) -> ApiResponse:
    """Revoke an API key.

    At once and for good: once this has answered, no request with the key succeeds. The key stays listed.
    Revoking it again changes nothing."""
    api_key_id = call.id()
    reason = call.body(RevokeApiKey, is_optional=True).reason
    reason = reason or call.query(RevokeQuery).reason
    hub().api_keys.revoke(call.principal, api_key_id, reason, call.if_match())
    return ApiResponse(status=204)


@apikeys.post(
    "{id}/rotate",
    body=RotateApiKey,
    body_is_optional=True,
    response=IssuedApiKeyView,
    status=201,
    refusals=(409, 412),
)
def rotate_api_key(call: Call) -> ApiResponse:
    """Rotate an API key.

    A new key with the same scopes and limit, shown once. The old one works beside it for the grace period, 24
    hours by default, at most 30 days, and never longer than it would have anyway; both share one quota. The caller
    must have the key's scopes. Not refused for BR-AK-03."""
    command = call.body(RotateApiKey, is_optional=True)
    issued = hub().api_keys.rotate(call.principal, call.id(), command, call.if_match())
    return ApiResponse(
        issued_view(issued, hub().clock.now()),
        status=201,
        location=apikeys.location(issued.key.api_key_id),
        version=issued.key.version,
    )


@apikeys.post("{id}/rotate/confirm", response=ApiKeyView, refusals=(409,))
def confirm_rotation(call: Call) -> ApiResponse:
    """Confirm a rotation.

    Revokes the old key at once. The path names either key of the rotation; the answer is the new one."""
    key = hub().api_keys.confirm_rotation(call.principal, call.id())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.get("{id}/usage", query=UsageQuery, response=UsageView)
def get_key_usage(call: Call) -> ApiResponse:
    """Get an API key's usage.

    Up to date to the last request. By hour for the last 24 hours, by day for the last 30, unless told."""
    query = call.query(UsageQuery)
    usage = hub().key_usage.usage(
        call.principal, call.id(), by=query.by, since=query.since, until=query.until
    )
    return ApiResponse(usage_view(usage, query.by))
