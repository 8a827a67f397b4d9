"""What the product asks of a provider adapter. One adapter per external system lives in `infra/providers/`.

It holds no state: every call gets a `Connection` with the validated configuration and the one way out. It never logs,
and never puts a credential into a text it returns or raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from domain.providers.analytics import AnalyticsEvent, EventCall
from domain.providers.charset import read_text, with_whole_characters
from domain.providers.oauth_profile import OAuthProfile
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    SourceRecord,
    StreamProfile,
)
from domain.providers.untrusted import SMALL_BYTES, UNPROTECTED, TenantWork, WorkStopped

T = TypeVar("T")


class IntegrationType(IntEnum):
    PaymentGateway = 0
    EmailService = 1
    SMSService = 2
    CalendarSync = 3
    CustomAPI = 4
    CRM = 5
    Analytics = 6
    Storage = 7


def Secret(description: str, *, travels: bool = True, **options: Any) -> Any:  # noqa: N802 - reads as the field kind it declares
    """Declare a configuration field that is a credential: stored in the secret store only, shown as `********`.

    `travels`: a request to the provider carries it, or is signed with it. False where it only checks what comes in."""
    return Field(
        description=description,
        json_schema_extra={"secret": True, "format": "password", "travels": travels},
        repr=False,
        **options,
    )


class Destination:
    """Marks a configuration field, or the type of one, that decides where or how a secret travels.

    Such as an address, what a host name is made of, or a header's name. Whoever changes one gives the secrets again."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "destination": True}


DESTINATION = Destination()


class Configuration(BaseModel):
    """Base of every provider's configuration model: camelCase, unknown fields refused, at most 10 KB as JSON.

    `base_url` fields let sandboxes and tests point elsewhere; https, or http to loopback in development."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        defer_build=True,
    )

    def unused_secrets(self) -> Collection[str]:
        """Return the JSON pointers of secrets that no request needs as the rest is set; a change drops them."""
        return ()


#: Context of a validation that reads what was stored before: a secret that cannot work must not close the integration.
STORED: Mapping[str, bool] = {"stored": True}


def is_stored(info: ValidationInfo) -> bool:
    """Return whether the value was stored before, rather than sent to be set now."""
    return bool(info.context and info.context.get("stored"))


class Capability(StrEnum):
    """What a provider can do, shown in the catalogue."""

    ValidateCredentials = "ValidateCredentials"
    Test = "Test"
    Health = "Health"
    IncomingWebhooks = "IncomingWebhooks"
    Import = "Import"
    Export = "Export"
    OAuth = "OAuth"


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """A provider's entry in the catalogue.

    `webhook_fields` are optional configuration properties (as in JSON); no webhook is verified until all are set."""

    name: str
    title: str
    integration_type: IntegrationType
    documentation_url: str
    configuration: type[Configuration]
    capabilities: frozenset[Capability]
    oauth: OAuthProfile | None = None
    webhook_scheme: str | None = None
    webhook_fields: Sequence[str] = ()
    notes: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One request to the provider.

    - `body` is sent as given; `form` and `json` are encoded by the connection.
    - `idempotent` requests are repeated after a connection failure, 429 or 5xx; others only when nothing was sent or
      the provider answered 429.
    - `reads_apart`: the adapter has the answer read by `Connection.read`, so that the connection does not."""

    method: str
    url: str = field(repr=False)  # may hold the credential, or be one as a feed's address is
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict, repr=False)
    json: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 15.0
    max_response_bytes: int = 8 * 1024 * 1024
    reads_apart: bool = False
    idempotent: bool | None = None  # None: GET, HEAD, OPTIONS, PUT, DELETE, PROPFIND and REPORT are


@dataclass(frozen=True, slots=True)
class AlreadyRead:
    """What came of reading a body: the value, or why there is none."""

    value: Any
    failure: ProviderFailure | None = None

    def told(self) -> Any:
        """Return the value. Raises the failure."""
        if self.failure is not None:
            raise self.failure
        return self.value


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """The provider's answer; header names are lower-case. The status stands whatever became of the body.

    - `body` is what came of it: who needs all of it asks for `content`.
    - `missing` says why part of the body is missing; `is_too_long`: because it is beyond the request's bound.
    - `already` is what `json` returns or raises, where the connection had the body read apart."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_ms: int
    missing: str | None = None
    is_too_long: bool = False
    already: AlreadyRead | None = field(default=None, repr=False)

    def content(self) -> bytes:
        """Return the body. Raises ProviderFailure (`unavailable`) when part of it is missing."""
        if self.missing is not None:
            detail = f"The provider's answer is not complete: {self.missing}."
            raise ProviderFailure("unavailable", detail, status=self.status)
        return self.body

    def json(self) -> Any:
        """Return the body as JSON. Raises ProviderFailure (`malformed`, or as `content` does)."""
        if self.already is not None:
            return self.already.told()
        import json

        try:
            return with_whole_characters(json.loads(self.text()))
        except (ValueError, RecursionError):
            detail = "The provider's answer is not valid JSON."
            raise ProviderFailure("malformed", detail, status=self.status) from None

    def text(self, declared: str | None = None) -> str:
        """Return the body as text, in the charset that `Content-Type` names, else in `declared`, else UTF-8.

        Raises ProviderFailure as `content` does."""
        return read_text(self.content(), self.headers.get("content-type", ""), declared)


FailureKind = Literal[
    "unauthorized",  # the credentials are wrong or revoked: suspend, alert
    "forbidden",  # the credentials are right and lack a permission
    "rate_limited",  # 429, or 403 for a spent limit: wait `retry_after_seconds`
    "unavailable",  # connection failure, timeout, 5xx, open circuit
    "malformed",  # an answer that does not mean what the documentation says
    "rejected",  # any other 4xx: our request is wrong; `detail` quotes the provider's reason
]


class ProviderFailure(Exception):
    """Why a call to a provider did not do what was asked. `detail` is safe to show: no credential, no address.

    `of_grant`: it is the OAuth grant that is gone or refused, not the access token alone; only a person mends that.
    `is_lasting`: the same call comes to the same, so that trying it again is of no use.
    `nothing_charged`: the provider refused a test charge before anything of it was done."""

    def __init__(
        self,
        kind: FailureKind,
        detail: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        of_grant: bool = False,
        nothing_charged: bool = False,
        is_lasting: bool = False,
    ) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind
        self.detail = detail
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.of_grant = of_grant
        self.nothing_charged = nothing_charged
        self.is_lasting = is_lasting

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


def _remade(
    kind: type[ProviderFailure], arguments: tuple[Any, ...], state: dict[str, Any]
) -> ProviderFailure:
    """Return a failure that another process raised."""
    failure = kind.__new__(kind, *arguments)
    failure.__dict__.update(state)
    return failure


class RecordChanged(ProviderFailure):
    """A push was not done because the provider has another version of the record: `current`, which may be deleted."""

    def __init__(self, current: SourceRecord) -> None:
        detail = "The record was changed at the provider meanwhile; it was not overwritten."
        gone = "The record no longer exists at the provider."
        super().__init__(
            "rejected", gone if current.deleted else detail, status=404 if current.deleted else 412
        )
        self.current = current


class ProviderHttp(Protocol):
    """The shared client: exponential backoff with jitter, a circuit breaker for each provider host, `Retry-After`."""

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        """Send the request and return the answer, also a 4xx or 5xx after the retries.

        A 401 to an OAuth token refreshes it, and the request is repeated once. Raises ProviderFailure (`unavailable`,
        `rate_limited`) when no answer came or the circuit is open; `unauthorized` when the refresh was refused."""

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        """Do what `send` does, and require one of `statuses` (any 2xx when none is given).

        Raises ProviderFailure for every other status: 401 `unauthorized`, 403 `forbidden`, 429 or 403 for a spent limit
        `rate_limited`, 5xx `unavailable`, else `rejected` with the provider's own message if its body has one."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What one call to an adapter may use; `access_token` is the current OAuth token, None without OAuth."""

    configuration: Any
    http: ProviderHttp
    now: datetime
    access_token: str | None = field(default=None, repr=False)
    work: TenantWork = UNPROTECTED

    async def read(self, size: int, task: Callable[..., T], *arguments: Any, small: int = SMALL_BYTES) -> T:
        """Return what `task` reads out of `size` bytes that the provider sent; it gets no credential.

        At most `small` bytes are read by a thread, more by a process of its own. Raises ProviderFailure."""
        if size <= small:
            return await asyncio.to_thread(task, *arguments)
        return await read_apart(self.work, task, *arguments)


async def read_apart(work: TenantWork, task: Callable[..., T], *arguments: Any) -> T:
    """Return what `task` reads in a process of its own. Raises ProviderFailure."""
    try:
        return await work.perform(task, *arguments)
    except WorkStopped as stopped:
        if stopped.reason == "busy":
            raise ProviderFailure("unavailable", stopped.detail) from None
        detail = f"The provider's answer cannot be read. {stopped.detail}"
        raise ProviderFailure("rejected", detail, is_lasting=True) from None


@dataclass(frozen=True, slots=True)
class CredentialCheck:
    """A successful validation, for the administrator: the account at the provider, and what is granted.

    - `verified` is False, with a reason in `detail`, where the provider has no way to check credentials.
    - `identity` names the account itself, whatever is configured of it, where `account` may not; only its hash is kept.
      It may not hold a secret."""

    account: str
    scopes: Sequence[str] = ()
    verified: bool = True
    detail: str = ""
    test_mode: bool | None = None
    identity: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TestOptions:
    """What the administrator sends with a test: an e-mail address or E.164 number; the test-mode charge.

    `sandbox`: the provider is to check the message and deliver nothing."""

    __test__ = False

    recipient: str | None = None
    amount_minor: int = 100
    #: ISO 4217; None: what the integration's configuration, or the account, charges in.
    currency: str | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class TestStep:
    __test__ = False

    name: str
    detail: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """The steps of a test that passed; every effect that can be reversed was (charge then refund).

    `delivered`: the provider took a message to deliver it; False when it only checked it, None of other tests."""

    __test__ = False

    steps: Sequence[TestStep]
    delivered: bool | None = None


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A webhook as received at the public `url`; header names in lower case, the last value of each query name."""

    method: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class VerifiedEvent:
    """One event inside a verified incoming webhook.

    - `event_id`: the same for every repeat: the provider's own id where there is one, else a digest of what was signed.
    - `type`: the provider's event name, reduced to `[A-Za-z0-9._-]`; it is raised as `<provider>.<type>`.
    - `content_digest`: of its content where the id is it, or is not signed; of what is signed where the content is not.
    - `repeat_seconds`: an equal digest is a repeat for so long, where the id is the digest and a timestamp is signed.
    - `unsigned`: which of `id` and `type` come from headers that are not signed.
    - `unreadable`: why this element of a verified request cannot be read; it alone is kept as failed."""

    event_id: str
    type: str
    data: Mapping[str, Any]
    occurred_at: datetime | None = None
    unreadable: str | None = None
    content_digest: str | None = None
    repeat_seconds: int | None = None
    unsigned: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IncomingAnswer:
    """What a verified request means: events to store, or a handshake to answer at once with `body`."""

    events: Sequence[VerifiedEvent] = ()
    body: bytes | None = None
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class SignatureRefused(Exception):
    """The signature is missing, wrong, too old, or for something else; the text repeats no secret or expected value."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message to a person. `recipient` is an e-mail address or an E.164 number. An SMS carries the subject alone."""

    recipient: str
    subject: str
    text: str


class RecordStreams(Protocol):
    """The records of a provider, in and out. Adapters subclass it. Every method raises ProviderFailure."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]: ...

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        """Return the record in the shape of its internal model (domain/sync/records.py), before the field mapping.

        Pure. Raises ValueError for a record that makes no sense; it is logged as failed."""

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        """Return one page. Raises StateExpired too."""

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Create, change or delete one record of an exportable stream. A repeat makes no second record.

        Raises RecordChanged too."""
        raise ProviderFailure("rejected", f"The stream {request.stream} takes no records.")


class EventSink(Protocol):
    """The side of an analytics provider that takes events. `most_events` is what one call takes."""

    most_events: int

    def problem_of(self, name: str, properties: Sequence[str]) -> str | None:
        """Return why the provider takes no event of this name, or none with properties of these names."""
        return None

    def pack(self, events: Sequence[AnalyticsEvent], now: datetime) -> EventCall:
        """Return a call with as many of the events, from the first on, as one takes. Pure.

        What the provider would not take, by its documentation, is refused with a reason that quotes no value."""

    async def deliver(self, connection: Connection, call: EventCall) -> None:
        """Make the call. Raises ProviderFailure."""


class Provider(Protocol):
    """One external system. Adapters subclass it and declare what they can do. Async methods raise ProviderFailure."""

    profile: ClassVar[ProviderProfile]

    @property
    def streams(self) -> RecordStreams | None:
        """The records that can be synchronised, None when the provider keeps none."""
        return None

    @property
    def events(self) -> EventSink | None:
        """What takes domain events, None when the provider takes none."""
        return None

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Make the cheapest call that proves the credentials (BR-IM-02)."""

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Make a real round trip in test mode that leaves nothing behind (UC-IM-01 step 5, UC-IM-02 step 4)."""

    async def probe(self, connection: Connection) -> None:
        """Make the call of the health check: cheap, read-only, well under 30 s (section 9.1)."""

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        """Send a message to a person and return the provider's id of it. E-mail and SMS providers override it."""
        raise ProviderFailure("rejected", "The integration's provider sends no messages.")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Verify an incoming webhook by the provider's own scheme and name its events.

        Secrets are compared in constant time; where the scheme has a timestamp it may be 5 minutes off; nothing is
        accepted without a signature. Raises SignatureRefused. Raises ProviderFailure: `rejected` when the provider
        sends no webhooks, `unavailable` when what verification needs cannot be fetched, `malformed` only when the
        signature held and the content makes no sense: it is then kept as failed."""
        raise ProviderFailure("rejected", f"{self.profile.title} sends no webhooks.")
