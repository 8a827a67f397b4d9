"""The contract of TokenVerifier: who gets in, who does not, and what they are told."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from domain.authentication.ports import TokenVerifier
from domain.core.errors import Unauthenticated, Unavailable
from infra.app.settings import Settings
from infra.authentication.development import DEVELOPMENT_ISSUER, ensure_key
from infra.authentication.factory import build_verifier
from infra.authentication.jwks import CachedKeys
from infra.authentication.keys import SigningKey, parse_key_set
from infra.authentication.tokens import JwtVerifier

TENANT = "11111111-1111-4111-8111-111111111111"
USER = "22222222-2222-4222-8222-222222222222"
OTHER = "33333333-3333-4333-8333-333333333333"
AUDIENCE = "api://integration-hub"
ISSUER = "https://issuer.example/v2.0"
TEMPLATE = "https://login.example/{tenantid}/v2.0"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, PrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
FOREIGN: dict[str, PrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}


def jwk(private: PrivateKey, kid: str, **members: str) -> dict[str, Any]:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        return {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": kid, **members}
    return {**ECAlgorithm.to_jwk(public, as_dict=True), "kid": kid, **members}


def verifier_of(issuer: str, *keys: dict[str, Any], **settings: Any) -> JwtVerifier:
    source = CachedKeys(lambda: parse_key_set({"keys": list(keys)}), cache_seconds=3600)
    return JwtVerifier(Settings(**settings), source, issuer=issuer)


class Case:
    """A verifier and the means to sign what it accepts."""

    def __init__(self, verifier: TokenVerifier, issuer: str, algorithm: str, private: Any, kid: str) -> None:
        self.verifier, self.issuer, self.algorithm, self.private, self.kid = (
            verifier, issuer, algorithm, private, kid,
        )  # fmt: skip

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Good claims; None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 600,
                  "tid": TENANT, "oid": USER, "roles": ["audit:read"], **changes}  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.kid, **headers})

    def refused(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.verifier.verify(token)
        assert len(token) < 8 or token not in str(caught.value)
        return caught.value.detail


@pytest.fixture(params=["ES256", "RS256", "development"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "development":
        key = ensure_key(tmp_path)
        verifier = build_verifier(Settings(home=tmp_path))
        return Case(verifier, DEVELOPMENT_ISSUER, "ES256", jwt.PyJWK(key).key, key["kid"])
    published = verifier_of(ISSUER, *(jwk(private, kid=name) for name, private in KEYS.items()))
    return Case(published, ISSUER, request.param, KEYS[request.param], request.param)


def test_a_good_token_is_its_principal(case: Case) -> None:
    claims = case.claims(scp="access_as_user openid", permissions=["webhook:manage"])
    principal = case.verifier.verify(case.sign(claims))
    assert (principal.tenant_id, principal.user_id) == (UUID(TENANT), UUID(USER))
    assert principal.permissions == {"audit:read", "webhook:manage"}
    assert principal.api_key_id is None
    end = datetime.fromtimestamp(claims["exp"], UTC)
    assert principal.expires_at == (None if case.issuer == DEVELOPMENT_ISSUER else end)


def test_a_token_may_name_several_audiences(case: Case) -> None:
    assert case.verifier.verify(case.sign(case.claims(aud=["api://other", AUDIENCE]))).user_id == UUID(USER)


def test_clocks_may_differ_by_a_minute(case: Case) -> None:
    now = int(time.time())
    assert case.verifier.verify(case.sign(case.claims(exp=now - 50)))
    assert case.verifier.verify(case.sign(case.claims(nbf=now + 50, iat=now + 50)))


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"exp": -61}, "The token has expired."),
        ({"nbf": 90}, "The token is not valid yet."),
        ({"iat": 90}, "The token is not valid yet."),
        ({"exp": None}, "The token lacks the claim 'exp'."),
        ({"exp": "soon"}, "The token is not valid."),
        ({"exp": float("inf")}, "The token is not valid."),
        ({"aud": "api://other"}, "The token is meant for another audience."),
        ({"aud": [AUDIENCE + "/"]}, "The token is meant for another audience."),
        ({"aud": None}, "The token lacks the claim 'aud'."),
        ({"iss": "https://evil.example"}, "The token comes from another issuer."),
        ({"iss": None}, "The token lacks the claim 'iss'."),
        ({"tid": None}, "The claim 'tid' is missing."),
        ({"tid": "contoso"}, "The claim 'tid' is not a GUID."),
        ({"oid": None}, "The claim 'oid' is missing."),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(case: Case, changes: dict[str, Any], detail: str) -> None:
    shifted = {
        name: int(time.time()) + value if isinstance(value, int) else value for name, value in changes.items()
    }
    assert case.refused(case.sign(case.claims(**shifted))) == detail


def encoded(part: object) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_an_unsigned_token_is_refused(case: Case) -> None:
    for algorithm in ("none", "None", "NONE", ""):
        header = {"alg": algorithm, "typ": "JWT", "kid": case.kid}
        assert case.refused(f"{encoded(header)}.{encoded(case.claims())}.") == "The token is not valid."
    signed = case.sign(case.claims())
    assert case.refused(signed.rpartition(".")[0] + ".") == "The token is not valid."
    assert case.refused(signed.rpartition(".")[0]) == "The token is not valid."


def test_a_public_key_used_as_a_shared_secret_is_refused(case: Case) -> None:
    public = case.private.public_key()
    for encoding, layout in (
        (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
    ):
        body = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': case.kid})}.{encoded(case.claims())}"
        mac = hmac.HMAC(public.public_bytes(encoding, layout), hashes.SHA256())
        mac.update(body.encode())
        assert case.refused(f"{body}.{encoded(mac.finalize())}") == "The token is not valid."


def test_a_foreign_key_under_a_known_id_is_refused(case: Case) -> None:
    token = jwt.encode(case.claims(), FOREIGN[case.algorithm], case.algorithm, headers={"kid": case.kid})
    assert case.refused(token) == "The token is not valid."


def test_a_foreign_key_brought_along_in_the_header_is_refused(case: Case) -> None:
    private = FOREIGN[case.algorithm]
    headers = {"kid": case.kid, "jwk": jwk(private, case.kid), "jku": "https://evil.example/keys"}
    assert case.refused(jwt.encode(case.claims(), private, case.algorithm, headers=headers))


@pytest.mark.parametrize("kid", [None, "", "unknown", "../../etc/passwd", 7])
def test_a_token_that_names_no_known_key_is_refused(case: Case, kid: object) -> None:
    header = {"alg": case.algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    signature = case.sign(case.claims()).rpartition(".")[2]
    assert (
        case.refused(f"{encoded(header)}.{encoded(case.claims())}.{signature}") == "The token is not valid."
    )


def test_another_algorithm_of_the_same_key_is_refused(case: Case) -> None:
    if case.algorithm == "RS256":
        for algorithm in ("RS384", "RS512", "PS256"):
            token = jwt.encode(case.claims(), case.private, algorithm, headers={"kid": case.kid})
            assert case.refused(token) == "The token is not valid."
    else:
        head, _, rest = case.sign(case.claims()).partition(".")
        header = json.loads(base64.urlsafe_b64decode(head + "==")) | {"alg": "ES384"}
        assert case.refused(f"{encoded(header)}.{rest}") == "The token is not valid."


def test_an_altered_payload_is_refused_even_after_the_original_was_accepted(case: Case) -> None:
    token = case.sign(case.claims())
    case.verifier.verify(token)
    head, _, signature = token.split(".")
    altered = encoded(case.claims(tid=OTHER, roles=["integration:admin"]))
    assert case.refused(f"{head}.{altered}.{signature}") == "The token is not valid."


def test_an_unknown_critical_header_is_refused(case: Case) -> None:
    assert case.refused(case.sign(case.claims(), crit=["exp"], exp=1)) == "The token is not valid."


def test_a_token_over_16_kib_is_refused_and_one_below_is_not(case: Case) -> None:
    assert case.verifier.verify(case.sign(case.claims(filler="x" * 11_000)))
    assert case.refused(case.sign(case.claims(filler="x" * 13_000))) == "The token is not valid."


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "\ud800",
        "\x00",
        "Bearer x",
        "ihk_abc",
        "e30.e30.e30",
        "W10.W10.",
    ],
)
def test_garbage_is_refused(case: Case, token: str) -> None:
    assert case.refused(token) == "The token is not valid."


def test_nesting_is_refused(case: Case) -> None:
    deep = encoded(b"[" * 8_000)
    assert case.refused(f"{deep}.e30.AA") == "The token is not valid."


SHARED = verifier_of(ISSUER, *(jwk(private, kid=name) for name, private in KEYS.items()))
GOOD = Case(SHARED, ISSUER, "ES256", KEYS["ES256"], "ES256")


@given(st.text() | st.lists(st.binary().map(encoded), min_size=3, max_size=3).map(".".join))
def test_whatever_text_comes_it_is_unauthenticated(token: str) -> None:
    assert GOOD.refused(token)


@given(st.floats(0, 1, exclude_max=True), st.sampled_from("ABCabc019-_.="))
def test_no_single_character_of_a_token_can_be_changed(place: float, other: str) -> None:
    token = GOOD.sign(GOOD.claims())
    position = int(place * len(token))
    if token[position] == other:
        assert GOOD.verifier.verify(token)
    else:
        assert GOOD.refused(token[:position] + other + token[position + 1 :])


def test_a_weak_rsa_key_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    case = Case(verifier_of(ISSUER, jwk(weak, "weak")), ISSUER, "RS256", weak, "weak")
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = case.sign(case.claims())
    assert case.refused(token) == "The token is not valid."


def test_other_claim_names_can_be_set() -> None:
    verifier = verifier_of(
        ISSUER, jwk(KEYS["ES256"], "ES256"), auth_tenant_claim="org", auth_user_claim="uid"
    )
    principal = verifier.verify(GOOD.sign(GOOD.claims(org=OTHER, uid=TENANT)))
    assert (principal.tenant_id, principal.user_id) == (UUID(OTHER), UUID(TENANT))


def test_keys_that_cannot_be_fetched_are_unavailable() -> None:
    def down() -> dict[str, SigningKey]:
        raise Unavailable("The token issuer's keys cannot be fetched.")

    verifier = JwtVerifier(Settings(), CachedKeys(down, cache_seconds=3600), issuer=ISSUER)
    with pytest.raises(Unavailable):
        verifier.verify(GOOD.sign(GOOD.claims()))
    with pytest.raises(Unauthenticated):
        verifier.verify("garbage")


def multi_tenant(**key: str) -> Case:
    verifier = verifier_of(TEMPLATE, jwk(KEYS["RS256"], "RS256", **key))
    return Case(verifier, TEMPLATE.replace("{tenantid}", TENANT), "RS256", KEYS["RS256"], "RS256")


@pytest.mark.parametrize(
    "key", [{}, {"issuer": TEMPLATE}, {"issuer": TEMPLATE.replace("{tenantid}", TENANT)}]
)
def test_a_multi_tenant_issuer_accepts_a_tenant_of_its_own_issuer(key: dict[str, str]) -> None:
    case = multi_tenant(**key)
    assert case.verifier.verify(case.sign(case.claims())).tenant_id == UUID(TENANT)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"tid": OTHER}, "The token comes from another issuer."),
        ({"iss": TEMPLATE}, "The token comes from another issuer."),
        ({"iss": None}, "The token lacks the claim 'iss'."),
        ({"tid": None}, "The token lacks the claim 'tid'."),
        (
            {"tid": "x/../y", "iss": TEMPLATE.replace("{tenantid}", "x/../y")},
            "The token lacks the claim 'tid'.",
        ),
    ],
)
def test_a_multi_tenant_token_whose_issuer_is_not_its_tenants_is_refused(
    changes: dict[str, Any], detail: str
) -> None:
    case = multi_tenant()
    assert case.refused(case.sign(case.claims(**changes))) == detail


def test_a_key_of_one_tenant_does_not_sign_for_another() -> None:
    case = multi_tenant(issuer=TEMPLATE.replace("{tenantid}", OTHER))
    assert case.refused(case.sign(case.claims())) == "The token comes from another issuer."


def test_a_multi_tenant_issuer_reads_the_tenant_from_tid_only() -> None:
    with pytest.raises(ValueError, match="HUB_AUTH_TENANT_CLAIM"):
        verifier_of(TEMPLATE, jwk(KEYS["RS256"], "RS256"), auth_tenant_claim="extension_tenant")


class Rolling:
    """A key source whose set the test changes, counting look-ups."""

    def __init__(self) -> None:
        self.generation = 1
        self.keys = parse_key_set({"keys": [jwk(KEYS["ES256"], "ES256")]})
        self.finds = 0

    def find(self, kid: str) -> SigningKey | None:
        self.finds += 1
        return self.keys.get(kid)


def remembering() -> tuple[Rolling, Callable[[float], None], JwtVerifier]:
    keys = Rolling()
    offset = 0.0

    def advance(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    return keys, advance, JwtVerifier(Settings(), keys, issuer=ISSUER, now=lambda: time.time() + offset)


def test_a_token_is_checked_once_a_minute() -> None:
    keys, advance, verifier = remembering()
    token = GOOD.sign(GOOD.claims())
    assert all(verifier.verify(token).user_id == UUID(USER) for _ in range(100))
    assert keys.finds == 1
    advance(61)
    verifier.verify(token)
    assert keys.finds == 2


def test_a_withdrawn_key_ends_remembered_tokens_at_once() -> None:
    keys, _, verifier = remembering()
    token = GOOD.sign(GOOD.claims())
    verifier.verify(token)
    keys.keys, keys.generation = {}, 2
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


def test_a_refused_token_is_not_remembered() -> None:
    keys, _, verifier = remembering()
    token = GOOD.sign(GOOD.claims(aud="api://other"))
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            verifier.verify(token)
    assert keys.finds == 3
