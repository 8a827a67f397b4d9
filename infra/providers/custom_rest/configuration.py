"""What a tenant declares of its own REST API: address, credentials, requests, webhooks."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from domain.providers.contract import DESTINATION, Configuration, Secret, SignatureRefused, is_stored
from infra.providers._kit.field_types import BaseUrl, WebhookTolerance
from infra.providers._kit.signatures import HmacScheme, standard_key

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=1000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Authentication = Literal["none", "apiKey", "basic", "bearer", "clientCredentials"]


def _stays_below(path: str, info: ValidationInfo) -> str:
    """Refuse a path that leaves the base URL, which is where the credentials go."""
    segments = re.split(r"[/\\]", unquote(path.partition("?")[0]))
    if ".." in segments and not is_stored(info):
        raise ValueError("must stay below the base URL: no `..`")
    return path


Path = Annotated[
    str, StringConstraints(pattern=r"^/[^\s#\\]*$", max_length=1000), AfterValidator(_stays_below)
]
Pointer = Annotated[str, StringConstraints(pattern=r"^(/.*)?$", max_length=300)]
"""A JSON pointer (RFC 6901); empty: the whole document."""

_VISIBLE = r"^[\x20-\x7e]+$"
_RESERVED_HEADERS = frozenset(("authorization", "cookie", "host", "content-length", "proxy-authorization"))


class TestRequest(Configuration):
    """The round trip of the connection test.

    With `undoPath` the thing it made is deleted again; `{id}` in the path stands for what `idPointer` finds in the
    first answer."""

    __test__ = False

    method: Literal["GET", "POST", "PUT", "PATCH"] = Field("GET", description="Method")
    path: Path = Field(description="Path below the base URL")
    body: dict[str, Any] | None = Field(None, description="JSON body")
    statuses: tuple[int, ...] = Field(
        (), max_length=10, description="Statuses that mean success; empty: any 2xx"
    )
    id_pointer: Pointer | None = Field(None, description="Where the answer holds the new thing's id")
    undo_method: Literal["DELETE", "POST"] = Field("DELETE", description="Method that deletes it")
    undo_path: Path | None = Field(None, description="Path that deletes it, with `{id}`")

    @model_validator(mode="after")
    def _undo_has_its_id(self) -> Self:
        if ("{id}" in (self.undo_path or "")) != (self.id_pointer is not None):
            raise ValueError("idPointer and {id} in undoPath need each other")
        return self


class Paging(Configuration):
    """How a list goes on.

    - Page and offset count from `first`.
    - A cursor is read at `cursorPointer` and ends the list when it is absent or null.
    - `linkHeader` follows `rel="next"` (RFC 8288)."""

    style: Literal["none", "page", "offset", "cursor", "linkHeader"] = Field(
        "none", description="Paging style"
    )
    parameter: Name | None = Field(None, description="Query parameter of the page, offset or cursor")
    first: int = Field(1, ge=0, le=1, description="Number of the first page; offsets start at 0")
    size_parameter: Name | None = Field(None, description="Query parameter of the page size")
    size: int = Field(100, ge=1, le=10_000, description="Records per page")
    cursor_pointer: Pointer | None = Field(None, description="Where an answer holds the next cursor")

    @model_validator(mode="after")
    def _style_has_its_fields(self) -> Self:
        if (self.parameter is not None) != (self.style in ("page", "offset", "cursor")):
            raise ValueError("parameter belongs to the styles page, offset and cursor")
        if (self.cursor_pointer is not None) != (self.style == "cursor"):
            raise ValueError("cursorPointer belongs to the style cursor")
        return self


class ListRequest(Configuration):
    """Where the records of an import come from."""

    path: Path = Field(description="Path below the base URL")
    parameters: dict[Name, str] = Field({}, max_length=20, description="Fixed query parameters")
    records_pointer: Pointer = Field("", description="Where an answer holds the list of records")
    id_pointer: Pointer = Field("/id", description="Where a record holds its id")
    modified_pointer: Pointer | None = Field(None, description="Where a record holds when it last changed")
    deleted_pointer: Pointer | None = Field(None, description="Where a record says that it was deleted")
    since_parameter: Name | None = Field(
        None, description="Query parameter that takes the last change already seen (RFC 3339)"
    )
    paging: Paging = Field(Paging(), description="How the list goes on")


class WebhookScheme(Configuration):
    """How incoming webhooks prove where they come from. `hmac` is described by the fields that follow it."""

    scheme: Literal[
        "hmac", "standardWebhooks", "github", "shopify", "slack", "meta", "eventGrid", "token", "basic"
    ] = Field(
        description="Signature scheme; `token` compares a header, `basic` is HTTP Basic, `eventGrid` compares "
        "`?secret=` or the header X-Webhook-Secret"
    )
    header: HeaderName = Field("X-Signature", description="Header of the signature or token")
    algorithm: Literal["sha256", "sha384", "sha512", "sha1"] = Field("sha256", description="Hash of the HMAC")
    encoding: Literal["hex", "base64"] = Field("hex", description="Encoding of the signature")
    prefix: str = Field("", max_length=50, description="What stands before the signature, such as `sha256=`")
    template: str = Field(
        "{body}", max_length=200, description="What is signed: {body}, {timestamp}, {id}, {url}, {method}"
    )
    timestamp_header: HeaderName | None = Field(
        None, description="Header of the Unix time; see `toleranceSeconds`"
    )
    tolerance_seconds: WebhookTolerance = Field(
        300, description="Seconds for which a signed timestamp is good; at most 5 minutes into the future"
    )
    timestamp_unit: Literal["seconds", "milliseconds"] = Field("seconds", description="Unit of the Unix time")
    id_header: HeaderName | None = Field(
        None, description="Header of the message id; signed where the template holds {id}"
    )
    type_header: HeaderName | None = Field(
        None, description="Header of the event's type, where the body does not hold it"
    )
    username: Name = Field("webhook", description="User name of the scheme basic")
    event_id_pointer: Pointer | None = Field(None, description="Where the body holds the event's id")
    event_type_pointer: Pointer | None = Field(None, description="Where the body holds the event's type")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self.hmac_scheme()
        return self

    def check_secret(self, secret: str) -> None:
        """Raise ValueError for a secret with which no webhook can be verified."""
        if self.scheme == "standardWebhooks":
            try:
                standard_key(secret)
            except SignatureRefused:
                raise ValueError("must be `whsec_` and base64, as the sender shows it") from None
        elif self.scheme == "token" and not secret.isprintable():
            raise ValueError("holds characters that no header can carry")

    def hmac_scheme(self) -> HmacScheme:
        """Return the declared HMAC. Raises ValueError when its parts do not fit each other."""
        return HmacScheme(
            signature_header=self.header,
            algorithm=self.algorithm,
            encoding=self.encoding,
            prefix=self.prefix,
            template=self.template,
            timestamp_header=self.timestamp_header,
            timestamp_unit=self.timestamp_unit,
            id_header=self.id_header if "{id}" in self.template else None,
            tolerance_seconds=self.tolerance_seconds,
        )


class CustomRestConfiguration(Configuration):
    """A REST API that answers JSON."""

    base_url: BaseUrl = Field(description="Address under which the paths are")
    auth: Annotated[Authentication, DESTINATION] = Field("none", description="How requests are authenticated")
    api_key: str | None = Secret("API key", default=None, pattern=_VISIBLE, max_length=1000)
    api_key_name: Annotated[HeaderName, DESTINATION] = Field(
        "X-API-Key", description="Header or query parameter of the API key"
    )
    api_key_in: Annotated[Literal["header", "query"], DESTINATION] = Field(
        "header", description="Where the API key goes"
    )
    username: str | None = Field(None, max_length=300, description="User name of HTTP Basic")
    password: str | None = Secret("Password of HTTP Basic", default=None, max_length=300)
    bearer_token: str | None = Secret("Bearer token", default=None, pattern=_VISIBLE, max_length=4000)
    token_url: BaseUrl | None = Field(None, description="Token endpoint of client credentials (RFC 6749)")
    client_id: str | None = Field(None, max_length=300, description="Client id")
    client_secret: str | None = Secret("Client secret", default=None, max_length=500)
    scope: str | None = Field(None, max_length=1000, description="Scopes, separated by blanks")
    client_authentication: Annotated[Literal["basic", "body"], DESTINATION] = Field(
        "basic", description="How the client shows itself to the token endpoint"
    )
    headers: Annotated[dict[HeaderName, HeaderValue], DESTINATION] = Field(
        {}, max_length=20, description="Headers of every request; no credentials"
    )
    health_path: Path = Field("/", description="Path that answers 2xx while the API is well")
    account_pointer: Pointer | None = Field(
        None, description="Where the health answer names the account; set: it must be JSON"
    )
    test_request: TestRequest | None = Field(
        None, description="Request of the connection test; unset: the health path"
    )
    list_request: ListRequest | None = Field(None, description="List that an import reads")
    webhook: WebhookScheme | None = Field(None, description="Incoming webhooks")
    webhook_secret: str | None = Secret(
        "Secret of incoming webhooks", travels=False, default=None, max_length=500
    )
    webhook_verify_token: str | None = Secret(
        "Token of the `hub.challenge` handshake (Meta); unset: the webhook secret",
        travels=False,
        default=None,
        max_length=500,
    )

    def unused_secrets(self) -> Collection[str]:
        used = {"apiKey": "apiKey", "basic": "password", "bearer": "bearerToken"}
        used["clientCredentials"] = "clientSecret"
        return [f"/{name}" for auth, name in used.items() if auth != self.auth]

    @field_validator("webhook_secret")
    @classmethod
    def _secret_can_work(cls, value: str | None, info: ValidationInfo) -> str | None:
        webhook: WebhookScheme | None = info.data.get("webhook")
        if value and webhook is not None and not is_stored(info):
            webhook.check_secret(value)
        return value

    @field_validator("headers")
    @classmethod
    def _no_credentials(cls, value: dict[str, str]) -> dict[str, str]:
        if any(name.lower() in _RESERVED_HEADERS for name in value):
            raise ValueError("headers that carry credentials or steer the connection cannot be set")
        return value

    @model_validator(mode="after")
    def _credentials_fit(self) -> Self:
        needed: dict[str, dict[str, str | None]] = {
            "apiKey": {"apiKey": self.api_key},
            "basic": {"username": self.username, "password": self.password},
            "bearer": {"bearerToken": self.bearer_token},
            "clientCredentials": {
                "tokenUrl": self.token_url,
                "clientId": self.client_id,
                "clientSecret": self.client_secret,
            },
        }
        missing = [name for name, value in needed.get(self.auth, {}).items() if not value]
        if missing:
            raise ValueError(f"auth {self.auth} needs {', '.join(missing)}")
        if self.webhook is not None and not self.webhook_secret:
            raise ValueError("webhook needs webhookSecret")
        return self
