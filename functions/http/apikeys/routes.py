"""`/api/apikeys`: API keys and their verification (section 5.2)."""

from __future__ import annotations

from domain.apikeys.model import CreateApiKey, RevokeApiKey, RotateApiKey, UpdateApiKey, VerifyApiKey
from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.apikeys.verifier import KeyVerificationService
from domain.core.permissions import APIKEY_VERIFY, INTEGRATION_MANAGE
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
from infra.app.build import hub, use

apikeys = Resource("apikeys", tag="API keys", permission=INTEGRATION_MANAGE)


@apikeys.post(body=CreateApiKey, response=IssuedApiKeyView, status=201, refusals=(409,))
def create_api_key(call: Call) -> ApiResponse:
    """Create an API key.

    The answer contains the key, once; only its hash is stored. A key never has more rights than its creator:

    - A user can grant the permissions they have, and any scope of the platform's other modules.
    - An API key can grant only scopes of its own. The new key expires no later, is used from no other addresses and
      has no more requests an hour than it; what is absent is inherited, of the quota a tenth. All keys that descend
      from a key have together no more than its quota.

    A tenant has at most 100 active keys (BR-AK-03)."""
    issued = use(ApiKeyService).create(call.principal, call.body(CreateApiKey))
    return ApiResponse(
        issued_view(issued, hub().clock.now()),
        status=201,
        location=apikeys.location(issued.key.api_key_id),
        version=issued.key.version,
    )


@apikeys.get(query=ApiKeyQuery, response=ApiKeyPage)
def list_api_keys(call: Call) -> ApiResponse:
    """List API keys.

    Oldest first. Revoked and expired keys stay in the list."""
    query = call.query(ApiKeyQuery)
    page = use(ApiKeyService).page(call.principal, query.to_filter(), query.page_request())
    now = hub().clock.now()
    return ApiResponse(page_of(page, lambda key: key_view(key, now), ApiKeyPage))


@apikeys.get("scopes", response=ScopesView)
def list_scopes(call: Call) -> ApiResponse:
    """List the available scopes.

    The scopes are the permissions of this API and the known scopes of the platform's other modules."""
    settings, principal = hub().settings, call.principal
    return ApiResponse(
        scopes_view(
            principal.permissions,
            settings.api_key_scopes.split(),
            closed=settings.api_key_scopes_closed,
            is_key=principal.api_key_id is not None,
        )
    )


@apikeys.post("verify", body=VerifyApiKey, response=VerifiedView, free_with=APIKEY_VERIFY)
async def verify_api_key(call: Call) -> ApiResponse:
    """Verify an API key.

    For services that receive API keys from their callers. A well-formed request always gets 200; `valid` and
    `code` hold the result.

    - A valid key is charged one request of its quota, unless `consume` is false.
    - Callers with `apikey:verify` take nothing of their own limit.
    - A key of another tenant is NOT_FOUND. A caller with `apikey:verify` gets VALID or INVALID for it.
    - Nothing is cached: a revoked key is REVOKED at once."""
    command = call.body(VerifyApiKey)
    return ApiResponse(verified_view(await use(KeyVerificationService).verify(call.principal, command)))


@apikeys.get("{id}", response=ApiKeyView)
def get_api_key(call: Call) -> ApiResponse:
    """Get an API key.

    The `ETag` names its version, for `If-Match`."""
    key = use(ApiKeyService).get(call.principal, call.id())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.put("{id}", body=UpdateApiKey, response=ApiKeyView, refusals=(409, 412))
def update_api_key(call: Call) -> ApiResponse:
    """Change an API key.

    Only the fields that are sent change. The caller must have what the key has: its scopes and, where the caller is
    a key, no tighter expiry, addresses or quota. A key can only tighten limits; loosening them needs a person's
    token. Scopes can be removed, not added (BR-AK-06). The rate limit can be
    raised or lowered; the next request is checked against the new limit. A revoked or expired key cannot be
    changed (BR-AK-07)."""
    key = use(ApiKeyService).update(call.principal, call.id(), call.body(UpdateApiKey), call.if_match())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.delete(
    "{id}", query=RevokeQuery, body=RevokeApiKey, body_is_optional=True, status=204, refusals=(412,)
)
def revoke_api_key(call: Call) -> ApiResponse:
    """Revoke an API key.

    The caller must have what the key has. Takes effect at once and cannot be undone: after this answer no request
    with the key succeeds. The key stays in the list. Revoking it again changes nothing."""
    api_key_id = call.id()
    reason = call.body(RevokeApiKey, is_optional=True).reason
    reason = reason or call.query(RevokeQuery).reason
    use(ApiKeyService).revoke(call.principal, api_key_id, reason, call.if_match())
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

    Creates a new key with the same scopes and limit, and shows it once. The old key keeps working for the grace
    period: 24 hours by default, at most 30 days, and never beyond its own expiry. Both keys share one quota.
    The caller must have what the key has; where the caller is a key, the new key expires no later than the old one.
    The limit of BR-AK-03 does not apply."""
    command = call.body(RotateApiKey, is_optional=True)
    issued = use(ApiKeyService).rotate(call.principal, call.id(), command, call.if_match())
    return ApiResponse(
        issued_view(issued, hub().clock.now()),
        status=201,
        location=apikeys.location(issued.key.api_key_id),
        version=issued.key.version,
    )


@apikeys.post("{id}/rotate/confirm", response=ApiKeyView, refusals=(409,))
def confirm_rotation(call: Call) -> ApiResponse:
    """Confirm a key rotation.

    Revokes the old key at once. `id` may be either key of the rotation; the answer shows the new key."""
    key = use(ApiKeyService).confirm_rotation(call.principal, call.id())
    return ApiResponse(key_view(key, hub().clock.now()), version=key.version)


@apikeys.get("{id}/usage", query=UsageQuery, response=UsageView)
def get_key_usage(call: Call) -> ApiResponse:
    """Get an API key's usage.

    Includes the latest request. Without parameters: by hour for the last 24 hours, or by day for the last 30
    days."""
    query = call.query(UsageQuery)
    usage = use(UsageService).usage(
        call.principal, call.id(), by=query.by, since=query.since, until=query.until
    )
    return ApiResponse(usage_view(usage, query.by))
