"""Every `code` of a problem: its meaning, and what the caller can do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """One code with its HTTP status; the texts may contain code in backticks."""

    status: int
    meaning: str
    remedy: str


PROBLEM_CODES: dict[str, ProblemCode] = {
    "malformed-json": ProblemCode(
        400,
        "The body is empty or not valid JSON; `detail` says where the parser stopped.",
        "Send UTF-8 JSON. Watch for trailing commas, single quotes and a body cut short.",
    ),
    "unauthenticated": ProblemCode(
        401,
        "The request has no credential, or two.",
        "Send `Authorization: Bearer <token>`, or an API key in `X-API-Key`.",
    ),
    "invalid-token": ProblemCode(
        401,
        "The token is not valid: it has expired, is for another audience, is signed by someone else, or lacks a "
        "claim that the hub needs.",
        "Get a new token from the issuer; if it has expired, `detail` shows when.",
    ),
    "invalid-key": ProblemCode(
        401,
        "The API key is unknown, mistyped or revoked; the answer does not tell which.",
        "Compare its first 8 characters with the list of keys, and create a new one if it was revoked.",
    ),
    "expired-key": ProblemCode(
        401,
        "The API key has expired; `detail` says when.",
        "Create a new key. To avoid a gap, rotate keys before they expire.",
    ),
    "key-not-yet-valid": ProblemCode(
        401,
        "The API key is not valid before its `notBefore`, which `detail` shows.",
        "Wait until then, or use another key.",
    ),
    "too-many-hops": ProblemCode(
        409,
        "The hub delivered what led to this eight times in a row, each time because of the delivery before: it is "
        "taken for a loop. `webhook-hops` counts it.",
        "Find the receiver that sends deliveries back to the hub, and let it leave out what came from there.",
    ),
    "not-held": ProblemCode(
        409,
        "The hub holds no events of this type as a loop.",
        "Read the loops again: the hub may have found out that it is none.",
    ),
    "bad-signature": ProblemCode(
        401,
        "The signature of an incoming webhook is missing, wrong, or more than 5 minutes old; see `detail`.",
        "Compare the webhook secret at the provider with the integration's, and check both clocks. The body must "
        "reach the hub byte for byte as it was signed.",
    ),
    "forbidden": ProblemCode(
        403,
        "The caller lacks the permission that `detail` names.",
        "Ask an administrator for the permission, or use an API key whose scopes include it.",
    ),
    "insufficient-scope": ProblemCode(
        403,
        "The API key lacks a scope that the operation needs, or the caller lacks one of the key that it makes or "
        "changes. `detail` names the missing scopes.",
        "Use a key with those scopes. For a new key, leave them out, or let someone create it who has them.",
    ),
    "exceeds-credential": ProblemCode(
        403,
        "The API key that calls would make or change a key that has more than itself: one that expires later, may be "
        "used from other addresses, or has more requests an hour. `detail` says which.",
        "Stay within the calling key's limits, or let a person with `integration:manage` do it.",
    ),
    "person-needed": ProblemCode(
        403,
        "An API key would loosen the limits of a key, or the allow list of an integration's incoming webhooks. Only a "
        "person may do that.",
        "Use a person's token with the permission that the operation needs.",
    ),
    "ip-not-allowed": ProblemCode(
        403,
        "The API key does not allow the caller's IP address.",
        "Call from an address in the key's `allowedIps`, or change them.",
    ),
    "tenant-suspended": ProblemCode(
        403,
        "The platform suspended the caller's tenant. Its deliveries are held and its syncs wait; nothing is lost.",
        "Ask the platform's administrators, who resume it.",
    ),
    "tenant-deleted": ProblemCode(
        403,
        "The caller's tenant is being deleted from the platform, or was.",
        "Ask the platform's administrators, who can let the tenant begin anew.",
    ),
    "source-not-allowed": ProblemCode(
        403,
        "The integration does not accept webhooks from this IP address.",
        "Add the provider's addresses with `PUT` to the integration's `/incoming`, or empty the list.",
    ),
    "not-found": ProblemCode(
        404,
        "The resource does not exist in your tenant. Resources of other tenants get the same answer.",
        "Check the id, and that the token is for the right tenant. The resource may have been deleted.",
    ),
    "not-signed-yet": ProblemCode(
        409,
        "No signed head covers this row of the audit log yet; one is signed every 15 minutes.",
        "Ask again in a quarter of an hour.",
    ),
    "audit-broken": ProblemCode(
        409,
        "The stored tree over the audit log has gaps, so no path leads from the row to a signed head.",
        "Verify the audit log with GET /api/audit/verify and tell whoever is responsible for security.",
    ),
    "no-such-path": ProblemCode(
        404, "No operation has this path.", "Compare the path with the operations on this page."
    ),
    "method-not-allowed": ProblemCode(
        405,
        "The path does not allow this method; the header `Allow` lists those it allows.",
        "Use one of the methods in `Allow`.",
    ),
    "conflict": ProblemCode(
        409,
        "The request is valid, but the current state does not allow it, or another request changed the state first.",
        "Fetch the resource again; repeat the request if it is still needed.",
    ),
    "provider-unavailable": ProblemCode(
        409,
        "The integration's provider does not answer, limits the rate of calls, or is not called for a while after "
        "many failures. Nothing was changed.",
        "Try again in a few minutes; `GET /api/integrations/{id}/health` shows when it answers again.",
    ),
    "illegal-move": ProblemCode(
        409,
        "The integration's status does not allow this operation; `detail` lists those it allows.",
        "Check its `status` and `reason`. A disconnected integration cannot be used again: create a new one.",
    ),
    "integration-type-disabled": ProblemCode(
        409,
        "Integrations of this type are switched off in this installation.",
        "Ask the operator of the installation; `GET /api/providers` shows `isEnabled` for each provider.",
    ),
    "BR-IM-01": ProblemCode(
        409,
        "Another integration is active where only one may be: one payment gateway, e-mail and SMS service for each "
        "tenant, one calendar of an account at its provider for each owner, one of the same provider and name for "
        "the other types. The slot of a calendar is taken when its account is known.",
        "Suspend or disconnect the active one first, or create this one with `activate: false`.",
    ),
    "BR-IM-02": ProblemCode(
        409,
        "The provider did not accept the new configuration or credentials; the old ones stay in use.",
        "Read `detail` for the provider's reason, correct the value, and send it again.",
    ),
    "BR-IM-05": ProblemCode(
        409,
        "The integration is in the state Error, which only a review by a person ends.",
        "Find the cause in its `/logs`, then POST a note to its `/review`.",
    ),
    "integration-limit": ProblemCode(
        409,
        "The tenant has as many integrations as the platform lets it have; `detail` says how many.",
        "Disconnect one that is not used, or ask the platform's administrators for more.",
    ),
    "platform-tenant": ProblemCode(
        409,
        "The tenant of the platform's administrators cannot be suspended or deleted.",
        "Name another tenant.",
    ),
    "tenant-not-suspended": ProblemCode(
        409,
        "Only a suspended tenant can be deleted.",
        "Suspend it first; its deletion begins 15 minutes after it was asked for.",
    ),
    "tenant-deleting": ProblemCode(
        409,
        "The tenant is being deleted, which cannot be undone.",
        "Wait until it is Deleted; then it can be resumed, with nothing in it.",
    ),
    "BR-DS-01": ProblemCode(
        409,
        "A Full sync of an integration runs at most once a day; `detail` says when the next is possible. With 422: "
        "the occurrences of the schedule are closer than that.",
        "Wait until then, or use an Incremental or Differential sync.",
    ),
    "BR-DS-02": ProblemCode(
        409,
        "An Incremental sync of an integration runs at most once an hour; `detail` says when the next is possible. "
        "Jobs that a provider's push started do not count. "
        "With 422: the occurrences of the schedule are closer than that.",
        "Wait until then.",
    ),
    "not-synchronisable": ProblemCode(
        409,
        "The provider has no records to synchronise, its configuration declares none, or it refused access.",
        "Read `detail`. A declared REST API needs `listRequest` in its configuration.",
    ),
    "mapping-too-expensive": ProblemCode(
        409,
        "The expressions of the mapping take longer for these records than they may.",
        "Simplify the expressions, or try fewer records.",
    ),
    "not-exportable": ProblemCode(
        409,
        "The provider does not accept records from the hub.",
        "Use the direction Import.",
    ),
    "not-importable": ProblemCode(
        409,
        "The provider takes events and lists no records.",
        "Use the direction Export.",
    ),
    "not-resumable": ProblemCode(
        409,
        "Only a job that failed or was cancelled, and has something left to do, can be resumed.",
        "Check its `status`; start a new job if needed.",
    ),
    "sync-ended": ProblemCode(
        409,
        "The job has already ended, so it cannot be cancelled.",
        "Nothing.",
    ),
    "provider-refused": ProblemCode(
        409,
        "The provider did not accept the request; `detail` quotes its reason.",
        "Correct the integration's configuration accordingly.",
    ),
    "integration-not-active": ProblemCode(
        422,
        "A sync needs an integration of your tenant that is Active and enabled (section 7.4).",
        "Activate the integration, or use another.",
    ),
    "not-retryable": ProblemCode(
        409,
        "The delivery was already delivered, or is being sent now.",
        "Nothing, if it was delivered. To send it again anyway, replay its time range.",
    ),
    "webhook-not-active": ProblemCode(
        409,
        "The webhook is paused, disabled or not verified, so nothing can be sent to it.",
        "Resume it with `PUT` and `isActive: true`; verify it first if its state is PendingVerification.",
    ),
    "recommendation-gone": ProblemCode(
        409,
        "The recommendation no longer applies: its subject was modified, or its evidence is out of date.",
        "Nothing. `GET /api/insights/recommendations` lists those that apply now.",
    ),
    "nothing-to-apply": ProblemCode(
        409,
        "Only a person can do what the recommendation suggests; its `apply` is null.",
        "Follow its `explanation`, or dismiss it.",
    ),
    "content-gone": ProblemCode(
        409,
        "The content of this incoming webhook was deleted after its retention, so it cannot be raised again.",
        "Let the provider send it again, or fetch it from the provider by its id.",
    ),
    "verification-pending": ProblemCode(
        409,
        "The webhook cannot become active before its receiver has answered the challenge.",
        "Make the receiver answer the challenge, then `POST` to the webhook's `/verify`.",
    ),
    "idempotency-key-running": ProblemCode(
        409,
        "The first request with this `Idempotency-Key` is still running.",
        "Repeat the request with the same key after a moment; you get the answer of the first request.",
    ),
    "idempotency-outcome-unknown": ProblemCode(
        409,
        "The first request with this `Idempotency-Key` ended without a stored answer. It may have been carried out, "
        "and is not carried out again.",
        "Check whether it was carried out. If not, send it with a new key.",
    ),
    "rotation-pending": ProblemCode(
        409,
        "The API key is already being rotated.",
        "Confirm the current rotation or wait until its grace period ends; then rotate again.",
    ),
    "no-rotation": ProblemCode(
        409,
        "The API key is not being rotated, or its rotation has ended, so there is nothing to confirm.",
        "Fetch the key; start a new rotation if needed.",
    ),
    "BR-AK-03": ProblemCode(
        409,
        "The tenant has the maximum number of active API keys.",
        "Revoke a key that is no longer used.",
    ),
    "BR-AK-06": ProblemCode(
        409,
        "Scopes can be removed from an API key, but not added.",
        "Create a new key with the scopes you need, and revoke this one.",
    ),
    "BR-AK-07": ProblemCode(
        409,
        "The API key is revoked or expired, which cannot be undone.",
        "Create a new key.",
    ),
    "BR-WH-07": ProblemCode(
        409,
        "The tenant has the maximum number of webhooks.",
        "Delete a webhook that is no longer needed, or subscribe one webhook to more event types.",
    ),
    "no-oauth": ProblemCode(
        409,
        "The integration's provider does not use OAuth, so there is nothing to authorise.",
        "Set its credentials instead; `oauth` in `GET /api/providers/{name}` shows whether a provider uses OAuth.",
    ),
    "oauth-not-configured": ProblemCode(
        409,
        "The integration's configuration has no usable OAuth client.",
        "Set `clientId` and `clientSecret` with `PUT` to the integration's `/credentials`.",
    ),
    "precondition-failed": ProblemCode(
        412,
        "The resource was modified since you read it: `If-Match` names an older version.",
        "Fetch it again, apply your change to the new version, and send its `ETag`.",
    ),
    "length-required": ProblemCode(
        411,
        "The body was sent with `Transfer-Encoding: chunked`, without a `Content-Length`. The hub's host does not "
        "hand such bodies over: nothing of it arrived, and nothing was done.",
        "Send the body whole, with its `Content-Length`: give the HTTP client the text or bytes instead of a stream or "
        "generator. Where a proxy chunks requests, let it buffer them.",
    ),
    "too-large": ProblemCode(
        413,
        "The body is too large; `detail` shows its size, the limit, and the setting that decides it.",
        "Send a smaller body, or several requests.",
    ),
    "unsupported-media-type": ProblemCode(
        415,
        "The body is not sent as JSON, for example as a form, or is compressed; see `detail`.",
        "Send JSON with `Content-Type: application/json` and no `Content-Encoding`. `curl -d` sends a form unless "
        "that header is set.",
    ),
    "BR-WH-08": ProblemCode(
        413,
        "The payload of an event is larger than 1 MiB.",
        "Store the data elsewhere and raise an event with its address.",
    ),
    "validation-failed": ProblemCode(
        422,
        "The body, the query or a header is not valid; `errors` holds a JSON pointer and a reason for each field.",
        "Correct the fields in `errors`. Unknown fields are refused, so check the spelling of names.",
    ),
    "secrets-needed": ProblemCode(
        422,
        "The change lets secrets travel to another place, or in another way, and a secret that is kept goes nowhere "
        "else than before. `detail` names the fields that changed, `errors` the secrets.",
        "Send those secrets with the change, as they are or new ones; a mask does not count.",
    ),
    "reserved-type": ProblemCode(
        422,
        "An event, or a test of a webhook, has a type that only the hub and its integrations raise.",
        "Choose a type of your own; `GET /api/events/reserved-types` lists those that are reserved. An event of a "
        "provider comes through its integration.",
    ),
    "address-not-allowed": ProblemCode(
        422,
        "The URL resolves to an address that the hub never calls, such as one in a private network.",
        "Use a receiver with a public address.",
    ),
    "BR-WH-01": ProblemCode(
        422,
        "The URL of a webhook must use https.",
        "Use https. In development, http is accepted for localhost only.",
    ),
    "idempotency-key-reused": ProblemCode(
        422,
        "This `Idempotency-Key` was used within the last 24 hours with another path or body.",
        "Use a new key for each new request; reuse a key only to repeat the same request.",
    ),
    "rate-limited": ProblemCode(
        429,
        "The quota of the API key, or of the person whose token it is, is used up. Refused requests do not count.",
        "Wait for `Retry-After` seconds; the `RateLimit` headers show the remaining quota.",
    ),
    "internal-error": ProblemCode(
        500,
        "Internal error.",
        "Quote the `traceId` when you report it. With an `Idempotency-Key` a repeat is never carried out twice.",
    ),
    "unavailable": ProblemCode(
        503,
        "A dependency of the hub is unavailable. Nothing was changed.",
        "Repeat the request after `Retry-After` seconds.",
    ),
    "busy": ProblemCode(
        503,
        "The process works on as many bytes of request bodies as it has memory for. Nothing was changed.",
        "Repeat the request after `Retry-After` seconds; smaller bodies find room sooner.",
    ),
    "outcome-unknown": ProblemCode(
        503,
        "A dependency of the hub became unavailable while the change was being stored. It may have been carried out, "
        "in whole or in part.",
        "Check whether it was carried out before you send it again; a repeat with its `Idempotency-Key` is never "
        "carried out twice.",
    ),
}
