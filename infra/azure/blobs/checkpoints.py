"""Signed heads of the audit log in a container whose policy lets nobody change or remove a blob."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID
from xml.etree import ElementTree

from domain.core.errors import Unavailable
from infra.azure.credential import managed_identity

if TYPE_CHECKING:
    from azure.core import PipelineClient
    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpRequest, HttpResponse

_SCOPE = "https://storage.azure.com/.default"
_VERSION = "2023-11-03"
#: Blobs are listed by name alone, so the name counts down: the newest head comes first.
_MOST = 10**18
_OPTIONS: dict[str, Any] = {
    "retry_total": 3,
    "retry_backoff_factor": 0.2,
    "connection_timeout": 2,
    "read_timeout": 5,
}


class BlobCheckpoints:
    """The container at `url`, entered with the managed identity `client_id`. Implements Checkpoints. Thread-safe.

    The container's immutability policy is what keeps them (deploy/bicep/modules/storage.bicep); the app may add and
    read. `credential` and `options` are for azure.core's pipeline."""

    def __init__(
        self,
        url: str,
        client_id: str | None = None,
        *,
        credential: TokenCredential | None = None,
        **options: Any,
    ) -> None:
        self.url = url.rstrip("/")
        self._client_id = client_id
        self._credential = credential
        self._options = _OPTIONS | options
        self._lock = threading.Lock()
        self._made: PipelineClient[HttpRequest, HttpResponse] | None = None

    def put(self, tenant_id: UUID, size: int, note: str) -> None:
        """See https://learn.microsoft.com/rest/api/storageservices/put-blob."""
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": "text/plain; charset=utf-8",
            # Only where there is none: the first note of a size stays.
            "If-None-Match": "*",
        }
        name = f"{tenant_id}/{_MOST - size:018d}"
        answer = self.send("PUT", f"{self.url}/{name}", headers=headers, content=note.encode())
        # 409 is also what a policy answers that protects the blob which is there.
        if answer.status_code not in (201, 409, 412):
            raise Unavailable(f"A head of the audit log could not be kept: status {answer.status_code}")

    def latest(self, tenant_id: UUID) -> str | None:
        """See https://learn.microsoft.com/rest/api/storageservices/list-blobs."""
        query = {"restype": "container", "comp": "list", "prefix": f"{tenant_id}/", "maxresults": "1"}
        listed = self.send("GET", self.url, params=query)
        if listed.status_code != 200:
            raise Unavailable(f"The heads of the audit log cannot be listed: status {listed.status_code}")
        name = ElementTree.fromstring(listed.content).findtext("Blobs/Blob/Name")  # noqa: S314 - our own storage account's answer
        if name is None:
            return None
        found = self.send("GET", f"{self.url}/{name}")
        if found.status_code != 200:
            raise Unavailable(f"A head of the audit log cannot be read: status {found.status_code}")
        return str(found.content.decode())

    def send(self, method: str, url: str, **content: Any) -> HttpResponse:
        """Send a request of the Blob service's REST API as this identity. Raises Unavailable without an answer."""
        from azure.core.exceptions import AzureError
        from azure.core.rest import HttpRequest

        headers = {"x-ms-version": _VERSION, **content.pop("headers", {})}
        request = HttpRequest(method, url, headers=headers, **content)
        try:
            return self._client().send_request(request)
        except AzureError as error:
            raise Unavailable(
                f"The heads of the audit log cannot be reached: {type(error).__name__}"
            ) from error

    def _client(self) -> PipelineClient[HttpRequest, HttpResponse]:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        with self._lock:
            if self._made is None:
                credential = self._credential or managed_identity(self._client_id)
                policies = [RetryPolicy(**self._options), BearerTokenCredentialPolicy(credential, _SCOPE)]
                self._made = PipelineClient(self.url, policies=policies, **self._options)
            return self._made
