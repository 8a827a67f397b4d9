"""The token endpoint of a Function App on loopback.

Source: "How to use managed identities for App Service and Azure Functions", REST endpoint reference (Microsoft).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

SECRET = "a-secret-of-the-platform"
_VERSION = "2019-08-01"
_LIFE_SECONDS = 86_400


class IdentityEndpoint:
    """Serves from construction to `close`. Gives the token of a resource, `token` for one that is not among `tokens`,
    to whoever knows the secret. `clients`: ids of the identities assigned to the app; none: any is. `asked` is the
    query of every request it took for one; with `down` it answers 503."""

    def __init__(self, tokens: Mapping[str, str], token: str, *, clients: tuple[str, ...] = ()) -> None:
        self._tokens = tokens
        self._token = token
        self._clients = clients
        self.asked: list[dict[str, str]] = []
        self.down = False
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = dict(parse_qsl(urlsplit(self.path).query))
                status, answer = endpoint._answer(query, self.headers["X-IDENTITY-HEADER"])
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.environment = {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}/msi/token",
            "IDENTITY_HEADER": SECRET,
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, query: dict[str, str], secret: str | None) -> tuple[int, dict[str, str]]:
        if secret != SECRET:
            return 401, {"message": "The header is missing or wrong."}
        if query.get("api-version") != _VERSION or "resource" not in query:
            return 400, {"message": "An api-version and a resource are needed."}
        self.asked.append(query)
        if self.down:
            return 503, {"message": "Try again."}
        client, resource = query.get("client_id", ""), query["resource"]
        if self._clients and client not in self._clients:
            return 400, {"message": "No managed identity of that id is assigned."}
        return 200, {
            "access_token": self._tokens.get(resource, self._token),
            "client_id": client,
            "expires_on": str(int(time.time()) + _LIFE_SECONDS),
            "resource": resource,
            "token_type": "Bearer",
        }
