"""Amazon S3, and stores that speak its protocol.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, API_PutObject, API_DeleteObject
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList (403 for unknown keys)
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    FailureKind,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    ProviderResponse,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
    VerifiedEvent,
)
from domain.providers.records import (
    ListPage,
    ListRequest,
    PushRequest,
    PushResult,
    SourceRecord,
    StreamProfile,
)
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.paging import SyncingProvider
from infra.providers._kit.signatures import required_secret
from infra.providers._kit.storage_signing import AwsCredentials, encoded_query, sign_aws
from infra.providers._kit.wire import error_code, event_type, moment, refusal_403, signed_json, xml_document
from infra.providers.s3 import records, webhook

_UNAUTHORIZED = frozenset(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidSecurity")
)
_NAMESPACE = re.compile(r"^\{[^}]*\}")


class S3Configuration(Configuration):
    """One bucket and an access key that may list it, write and delete in it."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Bucket")
    region: str = Field("us-east-1", pattern=r"^[a-z0-9-]{2,40}$", description="Region of the bucket")
    access_key_id: str = Field(pattern=r"^[A-Za-z0-9_-]{3,128}$", description="Access key id")
    secret_access_key: str = Secret("Secret access key", min_length=1, max_length=200)
    session_token: str | None = Secret(
        "Session token of temporary credentials", default=None, max_length=3000
    )
    topic_arn: str | None = Field(
        None,
        pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}$",
        description="SNS topic that the bucket notifies; events from any other topic are refused",
    )
    base_url: BaseUrl | None = Field(
        None, description="Address of the service, for path-style requests; unset: Amazon S3 in the region"
    )

    @property
    def bucket_url(self) -> str:
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        if self.base_url is not None:
            return f"{self.base_url}/{self.bucket}"
        # The wildcard certificate covers one label only.
        if "." in self.bucket:
            return f"https://s3.{self.region}.{suffix}/{self.bucket}"
        return f"https://{self.bucket}.s3.{self.region}.{suffix}"


class S3:
    """Objects of one bucket."""

    profile: ClassVar[ProviderProfile] = ProviderProfile(
        name="S3",
        title="Amazon S3",
        integration_type=IntegrationType.Storage,
        documentation_url="https://docs.aws.amazon.com/AmazonS3/latest/API/",
        configuration=S3Configuration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.IncomingWebhooks,
                Capability.Import,
            )
        ),
        webhook_scheme="sns",
        webhook_fields=("topicArn",),
        notes="Bucket notifications come through an SNS topic with raw message delivery off.",
    )

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """List one object: proves the key, the bucket, the region and the permission to list."""
        await _list_one(connection)
        configuration: S3Configuration = connection.configuration
        return CredentialCheck(configuration.bucket, detail=f"Access key {configuration.access_key_id}")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Write a small object and delete it. A bucket with versions keeps the deleted version."""
        del options
        name = f"integration-hub-test-{uuid4().hex}.txt"
        put = _request(connection, "PUT", f"/{name}", payload=trial.TITLE.encode())
        undo = _request(connection, "DELETE", f"/{name}")

        async def expect(request: ProviderRequest, *statuses: int) -> ProviderResponse:
            return await _expect(connection, request, *statuses)

        await trial.create(expect, put, undo)
        await trial.delete(expect, undo, f"The object {name}")
        return TestResult(
            (TestStep("create", "Wrote an object", name), TestStep("delete", "Deleted it again", name))
        )

    async def probe(self, connection: Connection) -> None:
        await _list_one(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """An SNS message of the configured topic: confirms the subscription, or names the bucket's events."""
        topic = required_secret(connection.configuration.topic_arn)
        message = await webhook.verified_message(connection.http, request.body, topic, request.received_at)
        if message.type != "Notification":
            await webhook.confirm(connection.http, message)
            return IncomingAnswer()
        content = signed_json(message.text.encode())
        records = content.get("Records") if isinstance(content, dict) else None
        if not isinstance(records, list):
            return IncomingAnswer()  # such as the s3:TestEvent of a new notification
        events = (
            _event(message.message_id, position, record)
            for position, record in enumerate(records)
            if isinstance(record, dict)
        )
        return IncomingAnswer(tuple(events))

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        del configuration
        return records.STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        del stream
        return records.to_internal(record)

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        return await records.list_objects(connection, request, _listed)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        del connection
        raise ProviderFailure("rejected", f"The stream {request.stream} takes no records.")


def _event(message_id: str, position: int, record: Mapping[str, Any]) -> VerifiedEvent:
    name = str(record.get("eventName") or "")
    return VerifiedEvent(
        f"{message_id}:{position}", event_type(name), record, moment(record.get("eventTime"))
    )


async def _list_one(connection: Connection) -> None:
    response = await _listed(connection, [("list-type", "2"), ("max-keys", "1")])
    if _NAMESPACE.sub("", xml_document(response).tag) != "ListBucketResult":
        raise ProviderFailure("malformed", "The answer is not a list of objects.", status=response.status)


async def _listed(connection: Connection, query: list[tuple[str, str]]) -> ProviderResponse:
    return await _expect(connection, _request(connection, "GET", "", query))


def _request(
    connection: Connection,
    method: str,
    path: str,
    query: list[tuple[str, str]] | None = None,
    *,
    payload: bytes = b"",
) -> ProviderRequest:
    configuration: S3Configuration = connection.configuration
    credentials = AwsCredentials(
        configuration.access_key_id,
        configuration.secret_access_key,
        configuration.region,
        session_token=configuration.session_token,
    )
    url = f"{configuration.bucket_url}{path}"
    headers = sign_aws(credentials, method, url, query or (), {}, payload, connection.now)
    return ProviderRequest(
        method, f"{url}?{encoded_query(query)}" if query else url, headers=headers, body=payload
    )


async def _expect(connection: Connection, request: ProviderRequest, *statuses: int) -> ProviderResponse:
    """As ProviderHttp.expect; S3 answers 403, and 400 for session tokens, where others answer 401."""
    response = await connection.http.expect(request, *(statuses or (200,)), 400, 403)
    if response.status not in (400, 403):
        return response
    code = error_code(response)
    if response.status == 403:
        raise refusal_403(connection, response, code, unauthorized=_UNAUTHORIZED)
    kind: FailureKind = "unauthorized" if code in _UNAUTHORIZED else "rejected"
    shown = code if code.isidentifier() else "no reason given"
    raise ProviderFailure(kind, f"The provider answered 400: {shown}.", status=400)


PROVIDER: SyncingProvider = S3()
