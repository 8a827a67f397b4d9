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
        "There is no credential, or one that does not hold: expired, revoked, for another audience, or signed "
        "by someone else.",
        "Send `Authorization: Bearer <token>`, or an API key in `X-API-Key`. Get a fresh token when it expired.",
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
        "Quote the `traceId` when you report it. With an `Idempotency-Key` it is safe to try again.",
    ),
    "unavailable": ProblemCode(
        503,
        "Something the hub depends on is down. Nothing was changed.",
        "Repeat the request after `Retry-After` seconds.",
    ),
}
