"""The development issuer."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from domain.authentication.service import Authenticator, Credentials
from domain.core.errors import Unauthenticated
from domain.core.principal import RequestOrigin
from infra.app.build import build
from infra.app.settings import Settings
from infra.authentication.development import DevelopmentKeys, ensure_key, mint_token
from infra.authentication.factory import build_verifier
from infra.authentication.tokens import JwtVerifier
from tests import ROOT
from tests.worlds.builders import new_database

TENANT = UUID("11111111-1111-4111-8111-111111111111")
USER = UUID("22222222-2222-4222-8222-222222222222")


def mint(home: Path, ttl_seconds: int = 3600, **more: str) -> str:
    return mint_token(
        home,
        tenant_id=TENANT,
        user_id=USER,
        permissions=["events:write", "no:such"],
        ttl_seconds=ttl_seconds,
        **more,
    )


def test_a_minted_token_is_accepted_with_its_tenant_user_and_permissions(tmp_path: Path) -> None:
    principal = build_verifier(Settings(home=tmp_path)).verify(mint(tmp_path, name="Ada"))
    assert (principal.tenant_id, principal.user_id, principal.name) == (TENANT, USER, "Ada")
    assert principal.permissions == {"events:write"}


def test_the_email_that_a_token_claims_reaches_the_use_case_and_no_repr(tmp_path: Path) -> None:
    new_database(tmp_path)
    hub, token = build(Settings(home=tmp_path)), mint(tmp_path, email="ada@example.com")
    for _ in range(2):  # verified, and known
        credentials = Credentials(f"Bearer {token}", origin=RequestOrigin("203.0.113.7"))
        principal = hub.use(Authenticator).authenticate(credentials, "events:write").require()
        assert (principal.email, principal.origin.ip) == ("ada@example.com", "203.0.113.7")
        assert "ada@" not in repr(principal)
    hub.database.close()


def test_the_key_file_is_for_its_owner_only_and_nothing_else_is_left(tmp_path: Path) -> None:
    home = tmp_path / "state" / "hub"
    ensure_key(home)
    assert stat.S_IMODE((home / "dev-issuer.json").stat().st_mode) == 0o600
    assert [file.name for file in home.iterdir()] == ["dev-issuer.json"]


def test_the_key_stays_the_same(tmp_path: Path) -> None:
    assert ensure_key(tmp_path) == ensure_key(tmp_path)


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    start = time.time() + 1.5
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from infra.authentication.development import ensure_key\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "print(ensure_key(Path(sys.argv[1]))['kid'])\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), str(start)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    kids = {process.communicate(timeout=30)[0].strip() for process in running}
    assert kids == {ensure_key(tmp_path)["kid"]}
    assert [file.name for file in tmp_path.iterdir()] == ["dev-issuer.json"]


def test_a_token_minted_by_another_process_is_accepted(tmp_path: Path) -> None:
    script = (
        "import sys, uuid\n"
        "from pathlib import Path\n"
        "from infra.authentication.development import mint_token\n"
        "t, u = map(uuid.UUID, sys.argv[2:])\n"
        "print(mint_token(Path(sys.argv[1]), tenant_id=t, user_id=u, permissions=[], ttl_seconds=60))\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path), str(TENANT), str(USER)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert build_verifier(Settings(home=tmp_path)).verify(done.stdout.strip()).user_id == USER


def test_another_state_directory_is_another_issuer(tmp_path: Path) -> None:
    verifier = build_verifier(Settings(home=tmp_path / "ours"))
    with pytest.raises(Unauthenticated, match="not valid"):
        verifier.verify(mint(tmp_path / "theirs"))


def test_a_state_directory_made_anew_is_noticed_without_a_restart(tmp_path: Path) -> None:
    verifier = build_verifier(Settings(home=tmp_path))
    old = mint(tmp_path)
    verifier.verify(old)
    (tmp_path / "dev-issuer.json").unlink()
    assert verifier.verify(mint(tmp_path)).tenant_id == TENANT
    with pytest.raises(Unauthenticated):
        verifier.verify(old)


def test_a_token_out_of_its_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        build_verifier(Settings(home=tmp_path)).verify(mint(tmp_path, ttl_seconds=-61))


def test_the_audience_setting_holds_for_the_development_issuer_too(tmp_path: Path) -> None:
    verifier = build_verifier(Settings(home=tmp_path, auth_audience="api://other"))
    with pytest.raises(Unauthenticated, match="audience"):
        verifier.verify(mint(tmp_path))
    assert verifier.verify(mint(tmp_path, audience="api://other")).user_id == USER


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kty":"oct","k":"c2VjcmV0","kid":"1","d":"x"}'])
def test_a_file_that_is_no_key_is_named_and_not_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "dev-issuer.json").write_text(text)
    with pytest.raises(ValueError, match=r"dev-issuer\.json holds no development signing key") as caught:
        ensure_key(tmp_path)
    assert "c2VjcmV0" not in str(caught.value)


def test_production_does_not_start_without_an_issuer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="HUB_AUTH_ISSUER is not set"):
        build_verifier(Settings(home=tmp_path, environment="production"))


@pytest.mark.parametrize(
    ("issuer", "jwks_url"),
    [
        ("http://127.0.0.1:9", None),
        ("http://issuer.example", None),
        ("https://issuer.example", "http://127.0.0.1:9/keys"),
        ("https://issuer.example", "file:///etc/passwd"),
        ("issuer.example", None),
    ],
)
def test_production_does_not_start_with_keys_from_a_place_that_is_not_https(
    issuer: str, jwks_url: str | None
) -> None:
    with pytest.raises(ValueError, match="must be https"):
        build_verifier(Settings(environment="production", auth_issuer=issuer, auth_jwks_url=jwks_url))


def test_plain_http_is_for_loopback_even_in_development() -> None:
    with pytest.raises(ValueError, match="must be https"):
        build_verifier(Settings(auth_issuer="http://issuer.example"))


def test_a_token_of_the_development_issuer_is_refused_where_another_is_set(tmp_path: Path) -> None:
    verifier = JwtVerifier(Settings(), DevelopmentKeys(tmp_path), issuer="https://issuer.example")
    with pytest.raises(Unauthenticated, match="another issuer"):
        verifier.verify(mint(tmp_path))
