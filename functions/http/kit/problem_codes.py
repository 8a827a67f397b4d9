"""Every `code` a problem may carry: what it means, and what the caller does about it. The one such table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemCode:
    """`status` is the HTTP status it comes with. Texts may hold `code` in backticks."""

    status: int
    meaning: str
    remedy: str


PROBLEM_CODES: dict[str, ProblemCode] = {
    "malformed-json": ProblemCode(
        400,
        "The body is empty or is not JSON; `detail` says where the parser stopped.",
        "Send UTF-8 JSON. Watch for trailing commas, single quotes and a body cut short.",
    ),
    "unauthenticated": ProblemCode(
        401,
        "There is no credential, or two.",
        "Send `Authorization: Bearer <token>`, or an API key in `X-API-Key`.",
    ),
    "invalid-token": ProblemCode(
        401,
        "The token does not hold: expired, for another audience, signed by someone else, or without what the hub "
        "reads from it.",
        "Get a fresh token from the issuer; `detail` says when it has expired.",
    ),
    "invalid-key": ProblemCode(
        401,
        "The API key is unknown, mistyped or revoked; it is not said which.",
        "Compare its first 8 characters with the list of keys, and create a new one if it was revoked.",
    ),
    "expired-key": ProblemCode(
        401,
        "The API key has expired; `detail` says when.",
        "Create a new key. Rotate keys before they expire to go on without a gap.",
    ),
    "key-not-yet-valid": ProblemCode(
        401,
        "The API key's `notBefore` has not come yet; `detail` says when it does.",
        "Wait until then, or use another key.",
    ),
    "bad-signature": ProblemCode(
        401,
        "An incoming webhook's signature is missing, wrong, or more than 5 minutes old; `detail` says which.",
        "Compare the webhook secret at the provider with the integration's; check both clocks. The body must reach "
        "the hub byte for byte as it was signed.",
    ),
    "forbidden": ProblemCode(
        403,
        "The caller is known and lacks the permission that `detail` names.",
        "Ask an administrator for the permission, or use an API key whose scopes include it.",
    ),
    "insufficient-scope": ProblemCode(
        403,
        "The API key lacks a scope that the operation needs; or a new key was to have scopes that its creator has "
        "not. `detail` names the ones that are missing.",
        "Use a key with those scopes. For a new key: leave them out, or have someone create it who holds them.",
    ),
    "ip-not-allowed": ProblemCode(
        403,
        "The API key may be used from certain addresses only, and this is not one of them.",
        "Call from an address in the key's `allowedIps`, or have them changed.",
    ),
    "source-not-allowed": ProblemCode(
        403,
        "The integration takes webhooks from certain addresses only, and this is not one of them.",
        "Add the provider's addresses with `PUT` to the integration's `/incoming`, or empty the list.",
    ),
    "not-found": ProblemCode(
        404,
        "There is no such thing in your tenant. Another tenant's thing looks the same.",
        "Check the id and that the token is of the right tenant. It may have been deleted.",
    ),
    "no-such-path": ProblemCode(
        404, "Nothing is served at this path.", "Compare the path with the operations on this page."
    ),
    "method-not-allowed": ProblemCode(
        405,
        "The path exists for other methods; the header `Allow` lists them.",
        "Use one of the methods in `Allow`.",
    ),
    "conflict": ProblemCode(
        409,
        "The request is sound, but the present state does not allow it, or another request got there first.",
        "Read the resource again and decide anew; repeat the request if it still makes sense.",
    ),
    "provider-unavailable": ProblemCode(
        409,
        "The integration's provider does not answer, limits the calls, or is being left alone after many failures. "
        "Nothing was changed.",
        "Try again in a few minutes; `GET /api/integrations/{id}/health` tells when it answers again.",
    ),
    "illegal-move": ProblemCode(
        409,
        "The integration's status does not allow this; `detail` lists what it allows.",
        "Read its `status` and `reason` first. A disconnected integration is gone: create a new one.",
    ),
    "integration-type-disabled": ProblemCode(
        409,
        "Integrations of this type are switched off in this installation.",
        "Ask whoever runs it; `GET /api/providers` shows `isEnabled` for each.",
    ),
    "BR-IM-01": ProblemCode(
        409,
        "Another integration is active where only one may be: one payment gateway, e-mail and SMS service for each "
        "tenant, one calendar for each user, one of the same provider and name for the other types.",
        "Suspend or disconnect the active one first, or create this one with `activate: false`.",
    ),
    "BR-IM-02": ProblemCode(
        409,
        "The provider did not accept the new configuration or credentials; the old ones stay in use.",
        "Read `detail` for the provider's reason, correct the value, and send it again.",
    ),
    "BR-IM-05": ProblemCode(
        409,
        "The integration is in error, which only a person's review ends.",
        "Find out what happened from its `/logs`, then POST a note to its `/review`.",
    ),
    "BR-DS-01": ProblemCode(
        409,
        "A Full sync of an integration runs at most once a day; `detail` says when the next may be. As a schedule's "
        "error (422): it names moments that are closer than that.",
        "Wait until then, or use an Incremental or Differential sync.",
    ),
    "BR-DS-02": ProblemCode(
        409,
        "An Incremental sync of an integration runs at most once an hour; `detail` says when the next may be. As a "
        "schedule's error (422): it names moments that are closer than that.",
        "Wait until then.",
    ),
    "not-synchronisable": ProblemCode(
        409,
        "The provider, or this configuration of it, keeps no records, or did not let the hub in.",
        "Read `detail`. A declared REST API needs `listRequest` in its configuration.",
    ),
    "not-exportable": ProblemCode(
        409,
        "The provider takes no records from the hub.",
        "Use the direction Import.",
    ),
    "not-resumable": ProblemCode(
        409,
        "Only a job that failed or was cancelled can be resumed.",
        "Look at its `status`; start a new job if one is wanted.",
    ),
    "sync-ended": ProblemCode(
        409,
        "The job has ended already, so there is nothing to cancel.",
        "Nothing is needed.",
    ),
    "provider-refused": ProblemCode(
        409,
        "The provider did not accept the request; `detail` quotes its reason.",
        "Correct what it names in the integration's configuration.",
    ),
    "integration-not-active": ProblemCode(
        422,
        "A sync needs an integration of your tenant that is Active and enabled (7.4).",
        "Activate the integration, or name another.",
    ),
    "not-retryable": ProblemCode(
        409,
        "The delivery has arrived already, or is being sent at this moment.",
        "Nothing is needed if it was delivered. To send it again all the same, replay its time range.",
    ),
    "webhook-not-active": ProblemCode(
        409,
        "The webhook is paused, disabled or not verified, so nothing can be sent to it.",
        "Resume it with `PUT` and `isActive: true`; verify it first if its state is PendingVerification.",
    ),
    "recommendation-gone": ProblemCode(
        409,
        "What the recommendation was about is over: the subject was changed, or what was seen is past.",
        "Nothing is needed. `GET /api/insights/recommendations` says what holds now.",
    ),
    "nothing-to-apply": ProblemCode(
        409,
        "The recommendation asks for something that only a person can do; its `apply` is null.",
        "Do what its `explanation` says; dismiss it if you will not.",
    ),
    "content-gone": ProblemCode(
        409,
        "The content of this incoming webhook is past its retention, so it cannot be raised again.",
        "Have the provider send it again, or fetch it there by its id.",
    ),
    "verification-pending": ProblemCode(
        409,
        "The webhook cannot be active before its receiver has answered the challenge.",
        "Make the receiver answer the challenge, then `POST` to the webhook's `/verify`.",
    ),
    "idempotency-key-running": ProblemCode(
        409,
        "The first request with this `Idempotency-Key` has not ended yet.",
        "Wait a moment and repeat the request with the same key; you get the first one's answer.",
    ),
    "idempotency-outcome-unknown": ProblemCode(
        409,
        "The first request with this `Idempotency-Key` ended without an answer that could be kept. It may have been "
        "done; it is not done again.",
        "Look whether it was done. If it was not, send it under a new key.",
    ),
    "rotation-pending": ProblemCode(
        409,
        "The key is being rotated already.",
        "Confirm the rotation that runs, or wait until its grace period ends; then rotate again.",
    ),
    "no-rotation": ProblemCode(
        409,
        "The key is not being rotated, or its rotation has ended, so there is nothing to confirm.",
        "Look at the key; start a new rotation if one is still wanted.",
    ),
    "BR-AK-03": ProblemCode(
        409,
        "The tenant has as many active API keys as it may have.",
        "Revoke one that is no longer used.",
    ),
    "BR-AK-06": ProblemCode(
        409,
        "The scopes of an API key can be taken away, never added.",
        "Create a new key with the scopes you need, and revoke this one.",
    ),
    "BR-AK-07": ProblemCode(
        409,
        "The API key is revoked or expired; that is final.",
        "Create a new key.",
    ),
    "BR-WH-07": ProblemCode(
        409,
        "The tenant has as many webhooks as it may have.",
        "Delete one that is no longer needed, or subscribe one webhook to more event types.",
    ),
    "no-oauth": ProblemCode(
        409,
        "The integration's provider does not work by OAuth, so there is nothing to authorise.",
        "Look at the provider's `oauth` in `GET /api/providers/{name}`; set its credentials instead.",
    ),
    "oauth-not-configured": ProblemCode(
        409,
        "The integration's configuration has no OAuth client that can be used.",
        "Set `clientId` and `clientSecret` with `PUT` to the integration's `/credentials`.",
    ),
    "precondition-failed": ProblemCode(
        412,
        "`If-Match` names a version that is no longer current: someone changed the resource since you read it.",
        "`GET` it again, apply your change to what you find, and send the new `ETag`.",
    ),
    "too-large": ProblemCode(
        413,
        "The body is larger than is taken; `detail` has both sizes.",
        "Send less, or in several requests.",
    ),
    "unsupported-media-type": ProblemCode(
        415,
        "The body is sent as something other than JSON, such as a form, or compressed; `detail` names what came.",
        "Send JSON with `Content-Type: application/json` and no `Content-Encoding`. `curl -d` names a form unless "
        "that header is given.",
    ),
    "BR-WH-08": ProblemCode(
        413,
        "An event's payload is over 1 MiB.",
        "Put the bulk elsewhere and raise an event that says where.",
    ),
    "validation-failed": ProblemCode(
        422,
        "The body, the query or a header is not valid; `errors` holds a JSON pointer and a reason for each field.",
        "Correct the fields that `errors` lists. Unknown fields are refused, so look for misspelt names.",
    ),
    "address-not-allowed": ProblemCode(
        422,
        "The URL leads to an address that the hub never calls, such as one in a private network.",
        "Use a receiver that is reachable on a public address.",
    ),
    "BR-WH-01": ProblemCode(
        422,
        "A webhook's URL is not https.",
        "Use https. In development, http is taken for localhost only.",
    ),
    "idempotency-key-reused": ProblemCode(
        422,
        "This `Idempotency-Key` was used within the last 24 h for a different path or body.",
        "Use a new key for a new request; reuse a key only to repeat the very same one.",
    ),
    "rate-limited": ProblemCode(
        429,
        "The quota is used up. A refused call does not burn any of it.",
        "Wait as many seconds as `Retry-After` says; the `RateLimit` headers tell how much is left.",
    ),
    "internal-error": ProblemCode(
        500,
        "Something went wrong on our side.",
        "Quote the `traceId` when you report it. With an `Idempotency-Key` it is not done twice when you try again.",
    ),
    "unavailable": ProblemCode(
        503,
        "Something the hub depends on is down. Nothing was changed.",
        "Repeat the request after `Retry-After` seconds.",
    ),
    "outcome-unknown": ProblemCode(
        503,
        "Something the hub depends on was lost while it stored the change, or after a part of it was stored. It may "
        "have been done, or that part of it.",
        "Look whether it was done before you send it again; under its `Idempotency-Key` it is not done twice.",
    ),
}
