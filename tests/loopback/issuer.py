"""A token issuer on loopback in the shape of a multi-tenant Entra ID application: OpenID discovery, a key set, tokens.

Source: OpenID Connect Discovery 1.0; "Access token claims reference" (Microsoft identity platform).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "api://integration-hub"
_KID = "loopback-1"
_DISCOVERY = "/common/.well-known/openid-configuration"
_KEYS = "/common/discovery/keys"


class Issuer:
    """Serves from construction to `close`."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """The settings that make the app trust it, and nothing but it."""
        return {"HUB_AUTH_ISSUER": f"{self.address}/{{tenantid}}"}

    def token(
        self, *, tenant_id: UUID, user_id: UUID, permissions: Sequence[str], ttl_seconds: int = 3600
    ) -> str:
        """Valid from now."""
        now = int(time.time())
        claims = {
            "iss": f"{self.address}/{tenant_id}",
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + ttl_seconds,
            "sub": str(user_id),
            "tid": str(tenant_id),
            "oid": str(user_id),
            "roles": list(permissions),
            "ver": "2.0",
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": _KID})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    def _document(self, path: str) -> dict[str, Any] | None:
        if path == _DISCOVERY:
            return {"issuer": f"{self.address}/{{tenantid}}", "jwks_uri": f"{self.address}{_KEYS}"}
        if path == _KEYS:
            key: dict[str, Any] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
            return {"keys": [{**key, "kid": _KID, "use": "sig", "issuer": f"{self.address}/{{tenantid}}"}]}
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                document = issuer._document(self.path)
                body = json.dumps(document or {}).encode()
                self.send_response(200 if document else 404)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        return Handler
