"""Amazon S3: signatures by Amazon's own vectors, and a real server that checks them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

import pytest

from domain.providers.contract import ProviderFailure, TestOptions
from infra.providers._kit.storage_signing import AwsCredentials, sign_aws
from infra.providers.s3.adapter import PROVIDER as S3
from infra.providers.s3.adapter import S3Configuration
from tests.fixtures.providers import s3 as s3_case
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_peers import connected
from tests.worlds.provider_world import world

OPTIONS = TestOptions()
SUITE = AwsCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", "service")
SUITE_TIME = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "signature"),
    [
        ("GET", "/", [], {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", [], {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/",
            [("Param2", "value2"), ("Param1", "value1")],
            {},
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/",
            [],
            {"My-Header1": "value2,value2,value1"},
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "get-vanilla-query-order-key-case", "get-header-key-duplicate"],
)
def test_signature_v4_fits_the_published_test_suite(
    method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str], signature: str
) -> None:
    """https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html"""
    signed = sign_aws(
        SUITE,
        method,
        f"https://example.amazonaws.com{path}",
        query=query,
        headers=headers,
        now=SUITE_TIME,
        sign_payload=False,
    )
    assert signed["authorization"].endswith(f"Signature={signature}")


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt",
            [],
            {"Range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        ("/", [("lifecycle", "")], {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/",
            [("max-keys", "2"), ("prefix", "J")],
            {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
    ids=["get-object", "get-bucket-lifecycle", "list-objects"],
)
def test_signature_v4_fits_the_examples_of_s3(
    path: str, query: list[tuple[str, str]], headers: dict[str, str], signature: str
) -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    credentials = AwsCredentials(
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"
    )
    moment = datetime(2013, 5, 24, tzinfo=UTC)
    url = f"https://examplebucket.s3.amazonaws.com{path}"
    signed = sign_aws(credentials, "GET", url, query=query, headers=headers, now=moment)
    assert signed["authorization"].endswith(signature)
    assert credentials.secret_access_key not in repr(credentials)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "https://contoso.s3.eu-west-1.amazonaws.com"),
        ({"bucket": "my.bucket"}, "https://s3.eu-west-1.amazonaws.com/my.bucket"),
        ({"region": "cn-north-1"}, "https://contoso.s3.cn-north-1.amazonaws.com.cn"),
        ({"baseUrl": "https://minio.example.org/"}, "https://minio.example.org/contoso"),
    ],
)
def test_bucket_address(changes: dict[str, str], url: str) -> None:
    given = {
        "bucket": "contoso",
        "region": "eu-west-1",
        "accessKeyId": "AKIA1",
        "secretAccessKey": "s",
    } | changes
    assert S3Configuration.model_validate(given).bucket_url == url


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, dict[str, str]]]:
    """An S3 server that checks signatures, with the bucket `contoso` and the keys of a user who may use it."""
    pytest.importorskip("moto.server", reason="moto, an S3 server, is not installed (80 MB with botocore)")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    made: dict[str, Any] = {
        "endpoint_url": address,
        "region_name": "us-east-1",
        "aws_access_key_id": "root",
        "aws_secret_access_key": "root",
    }
    try:
        boto3.client("s3", **made).create_bucket(Bucket="contoso")
        iam = boto3.client("iam", **made)
        iam.create_user(UserName="hub")
        policy = {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        }
        iam.put_user_policy(UserName="hub", PolicyName="s3", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="hub")["AccessKey"]
        _check_signatures_from_now_on(address)
        yield (
            address,
            {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]},
        )
    finally:
        server.stop()


def _check_signatures_from_now_on(address: str) -> None:
    # Without a content type of its own the request counts as a form, and its body as nothing.
    headers = {"Content-Type": "text/plain"}
    urlopen(Request(f"{address}/moto-api/reset-auth", data=b"0", headers=headers)).close()


async def test_s3_keys_are_proved_and_the_test_leaves_nothing(moto: tuple[str, dict[str, str]]) -> None:
    address, keys = moto
    async with connected(S3, {"bucket": "contoso", "baseUrl": address, **keys}) as connection:
        check = await S3.validate_credentials(connection)
        result = await S3.test(connection, OPTIONS)
        await S3.probe(connection)
    assert (check.account, check.verified) == ("contoso", True)
    assert [step.name for step in result.steps] == ["create", "delete"]


async def test_s3_listing_is_empty_after_the_test(moto: tuple[str, dict[str, str]]) -> None:
    import boto3

    address, keys = moto
    async with connected(S3, {"bucket": "contoso", "baseUrl": address, **keys}) as connection:
        await S3.test(connection, OPTIONS)
    client = boto3.client(
        "s3",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=keys["accessKeyId"],
        aws_secret_access_key=keys["secretAccessKey"],
    )
    assert client.list_objects_v2(Bucket="contoso")["KeyCount"] == 0


async def test_s3_refuses_a_wrong_secret_without_repeating_it(moto: tuple[str, dict[str, str]]) -> None:
    address, keys = moto
    wrong = keys | {"secretAccessKey": "not-the-secret-key"}
    async with connected(S3, {"bucket": "contoso", "baseUrl": address, **wrong}) as connection:
        with pytest.raises(ProviderFailure) as caught:
            await S3.validate_credentials(connection)
    assert caught.value.kind == "unauthorized"
    assert "SignatureDoesNotMatch" in caught.value.detail
    assert "not-the-secret-key" not in f"{caught.value!r} {connection!r}"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "InvalidAccessKeyId", "unauthorized"),
        (403, "AccessDenied", "forbidden"),
        (400, "ExpiredToken", "unauthorized"),
        (400, "AuthorizationHeaderMalformed", "rejected"),
    ],
)
async def test_s3_error_codes_have_their_kind(status: int, code: str, kind: str) -> None:
    async with world(CASES["S3"]) as here:
        here.server.always = s3_case.error(status, code, "said so")
        with pytest.raises(ProviderFailure) as caught:
            await S3.probe(here.connection)
    assert caught.value.kind == kind


def test_the_signed_host_leaves_the_schemes_own_port_away() -> None:
    def signed(host: str) -> str:
        return sign_aws(SUITE, "GET", f"https://{host}/", now=SUITE_TIME)["authorization"]

    assert signed("store.example.org:443") == signed("store.example.org") != signed("store.example.org:8443")
