"""Amazon S3, and stores that speak its protocol.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, API_PutObject, API_DeleteObject
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList (403 for unknown keys)
https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field

from domain.providers.contract import (
    DESTINATION,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    Secret,
    TestOptions,
    TestResult,
    VerifiedEvent,
)
from infra.providers._kit import trial
from infra.providers._kit.contents import checked, events_of, read_json
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.signatures import required_secret
from infra.providers._kit.wire import CAPABILITIES, event_type, moment, root_tag
from infra.providers.s3.records import API, S3Objects, bucket_request, listed
from infra.providers.s3.webhook import confirm, verified_message


class S3Configuration(Configuration):
    """One bucket and an access key that may list it, write and delete in it."""

    bucket: Annotated[str, DESTINATION] = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Bucket"
    )
    region: Annotated[str, DESTINATION] = Field(
        "us-east-1", pattern=r"^[a-z0-9-]{2,40}$", description="Region of the bucket"
    )
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


class S3(Provider):
    """Objects of one bucket."""

    profile = ProviderProfile(
        name="S3",
        title="Amazon S3",
        integration_type=IntegrationType.Storage,
        documentation_url="https://docs.aws.amazon.com/AmazonS3/latest/API/",
        configuration=S3Configuration,
        capabilities=CAPABILITIES,
        webhook_scheme="sns",
        webhook_fields=("topicArn",),
        notes="Bucket notifications come through an SNS topic with raw message delivery off.",
    )
    streams = S3Objects()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """List one object: proves the key, the bucket, the region and the permission to list."""
        await _list_one(connection)
        configuration: S3Configuration = connection.configuration
        return CredentialCheck(configuration.bucket, detail=f"Access key {configuration.access_key_id}")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Write a small object and delete it. A bucket with versions keeps the deleted version."""
        name = f"integration-hub-test-{uuid4().hex}.txt"
        put = bucket_request(connection, "PUT", f"/{name}", payload=trial.TITLE.encode())
        undo = bucket_request(connection, "DELETE", f"/{name}")
        expect = partial(API.expect, connection)
        await trial.create(expect, put, undo)
        await trial.delete(expect, undo, f"The object {name}")
        return trial.made_and_deleted("Wrote an object", name)

    async def probe(self, connection: Connection) -> None:
        await _list_one(connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Take an SNS message of the configured topic: confirm the subscription, or name the bucket's events."""
        topic = required_secret(connection.configuration.topic_arn)
        message = await verified_message(connection.http, request.body, topic, request.received_at)
        if message.type != "Notification":
            await confirm(connection.http, message)
            return IncomingAnswer()
        content = read_json(message.text)
        records = content.get("Records") if isinstance(content, dict) else None
        if not isinstance(records, list):
            return IncomingAnswer()  # such as the s3:TestEvent of a new notification
        named = (
            events_of([record], partial(_event, message.message_id, position))
            for position, record in enumerate(checked(records))
        )
        return IncomingAnswer(tuple(chain.from_iterable(named)))


def _event(message_id: str, position: int, record: Mapping[str, Any]) -> VerifiedEvent:
    name = str(record.get("eventName") or "")
    return VerifiedEvent(
        f"{message_id}:{position}", event_type(name), record, moment(record.get("eventTime"))
    )


async def _list_one(connection: Connection) -> None:
    response = await listed(connection, [("list-type", "2"), ("max-keys", "1")])
    tag = await connection.read(len(response.body), root_tag, response)
    if tag.rpartition("}")[2] != "ListBucketResult":
        raise ProviderFailure("malformed", "The answer is not a list of objects.", status=response.status)


PROVIDER = S3()
