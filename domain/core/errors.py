"""The closed set of failures a use case may raise; one mapper turns them into RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One invalid field: a JSON pointer (RFC 6901) into the request body and what is wrong with it."""

    pointer: str
    detail: str


def json_pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of these steps, with `~` and `/` in them escaped."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class DomainError(Exception):
    """Base of the set. `code` is stable and machine-readable, `detail` is for people and holds no secret."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class NotFound(DomainError):
    """The thing does not exist, or belongs to another tenant: a caller cannot tell which."""

    code = "not-found"


class Conflict(DomainError):
    """The request is sound, the present state does not allow it."""

    code = "conflict"


class ProviderUnavailable(Conflict):
    """A tenant's provider, needed for this, does not answer. The hub is well: nobody who runs it should be called."""

    code = "provider-unavailable"


class RuleViolation(Conflict):
    """A business rule (`code` is its id, such as BR-WH-07) refuses the change."""


class PreconditionFailed(DomainError):
    """`If-Match` names a version that is no longer current (RFC 9110 section 13.1.1)."""

    code = "precondition-failed"


def modified(resource: str) -> PreconditionFailed:
    """Return the error for a `resource` (such as "webhook") whose version is no longer current."""
    return PreconditionFailed(f"The {resource} was modified since you read it; fetch it again.")


def check_version(resource: str, expected: int | None, actual: int) -> None:
    """Raise PreconditionFailed unless `expected` is None or the `actual` version."""
    if expected is not None and expected != actual:
        raise modified(resource)


class ValidationFailed(DomainError):
    """The request itself is wrong; `errors` says where."""

    code = "validation-failed"

    def __init__(self, detail: str, errors: Sequence[FieldError] = (), *, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.errors = tuple(errors)


class TooLarge(ValidationFailed):
    code = "too-large"


class Unauthenticated(DomainError):
    """No credential of an accepted kind that holds. `detail` never says more than the caller may know."""

    code = "unauthenticated"


class InvalidToken(Unauthenticated):
    """A token or key that does not hold."""

    code = "invalid-token"


class ExpiredToken(InvalidToken):
    """A token that held once: its signature is good, its time is over."""


class TwoCredentials(Unauthenticated):
    """A token and a key: which of them is meant?"""


class Forbidden(DomainError):
    """The principal is known and lacks a permission; `scopes` names those missing where that is the reason."""

    code = "forbidden"

    def __init__(self, detail: str, *, code: str | None = None, scopes: Sequence[str] = ()) -> None:
        super().__init__(detail, code=code)
        self.scopes = tuple(scopes)


class RateLimited(DomainError):
    """Too many requests; try again after `retry_after_seconds`."""

    code = "rate-limited"

    def __init__(self, detail: str, *, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(DomainError):
    """A dependency is down; the request may be repeated."""

    code = "unavailable"


class OutcomeUnknown(Unavailable):
    """The connection was lost under COMMIT, or after a part was committed: what was asked may have been done."""

    code = "outcome-unknown"


class Undone(Unavailable):
    """The transaction gave way, or lost its connection before COMMIT: it left nothing, and its repeat may succeed."""
