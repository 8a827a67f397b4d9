"""Signed heads of the audit log: what proves to outsiders that no row was changed, added or cut off.

Each tenant's rows are the leaves of a Merkle tree (`merkle`), row `first` being leaf 0. Every quarter of an hour the
tree takes the new rows, and its head is signed and written where whoever can write to the database cannot. A head is
a note as C2SP's tlog-checkpoint and signed-note have it, so that their tools read it too:

    integration-hub/audit/<tenantId>
    <number of leaves>
    <root, base64>
    first <sequence of leaf 0>
    signed-at <moment>

    — integration-hub-audit <base64 of key id and Ed25519 signature>
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.wire import rfc3339
from domain.journal.audit import AuditTransaction
from domain.journal.merkle import Edge, Node, edge_nodes

KEY_NAME = "integration-hub-audit"
#: The kind of signature that signed-note calls Ed25519.
_ED25519 = b"\x01"
_NOTE = re.compile(
    r"integration-hub/audit/(?P<tenant>[0-9a-f-]{36})\n(?P<size>0|[1-9]\d{0,17})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"first (?P<first>[1-9]\d{0,17})\nsigned-at (?P<at>\S{20,40})\n"
)
_SIGNATURE = re.compile(r"— (?P<name>\S+) (?P<value>[A-Za-z0-9+/]+=*)")


@dataclass(frozen=True, slots=True)
class Head:
    """A tree's head: `size` leaves, of which leaf 0 is the row `first`, have the hash `root` (32 bytes)."""

    tenant_id: UUID
    first: int
    size: int
    root: bytes
    signed_at: datetime

    @property
    def last(self) -> int:
        """The sequence of the newest row that it covers."""
        return self.first + self.size - 1

    def text(self) -> str:
        """Return what is signed."""
        return (
            f"integration-hub/audit/{self.tenant_id}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"
            f"first {self.first}\nsigned-at {rfc3339(self.signed_at)}\n"
        )


class HeadSigner(Protocol):
    """Signs heads with the newest key (Ed25519), and knows the public keys of all. Raises Unavailable."""

    def sign(self, text: str) -> tuple[bytes, bytes]:
        """Return the public key (32 bytes) and the signature (64 bytes) over the text in UTF-8."""

    def public_keys(self) -> Sequence[bytes]:
        """Return every key that ever signed, the newest first; none where nothing was signed yet."""


class VerifySignature(Protocol):
    """Checks an Ed25519 signature (RFC 8032)."""

    def __call__(self, public_key: bytes, signature: bytes, text: bytes) -> bool: ...


class Checkpoints(Protocol):
    """Keeps signed heads outside the database, where nothing is changed or removed. Raises Unavailable."""

    def put(self, tenant_id: UUID, size: int, note: str) -> None:
        """Keep a note. One that is kept already for this size stays as it is."""

    def latest(self, tenant_id: UUID) -> str | None:
        """Return the note of the greatest size, or None."""


@dataclass(frozen=True, slots=True)
class TreeState:
    """A tenant's tree as far as it has grown, and the newest note that was kept, over `signed_size` leaves."""

    first: int
    size: int
    signed_size: int
    note: str | None


class AuditTree(Protocol):
    """The stored trees. Hashes of leaves stay when retention removes the rows."""

    def tenants_to_sign(self, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return tenants by id beyond `after` whose newest rows no kept head covers."""

    def state(self, tenant_id: UUID) -> TreeState | None: ...

    def plant(self, tenant_id: UUID, first: int) -> None:
        """Begin the tenant's tree with the row `first`."""

    def grow(self, tenant_id: UUID, size: int, nodes: Iterable[Node]) -> bool:
        """Add the nodes of new leaves to a tree of `size`; False, and nothing is done, when it has grown meanwhile."""

    def nodes(self, tenant_id: UUID, places: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        """Return the stored hashes at these levels and positions."""

    def leaves(self, tenant_id: UUID, start: int, limit: int) -> Sequence[bytes]:
        """Return the stored hashes of leaves from `start` on."""

    def signed(self, tenant_id: UUID, size: int, note: str) -> None:
        """Remember the newest note."""


class AuditTreeTransaction(AuditTransaction, Protocol):
    """A transaction that may read and grow the trees over the audit log."""

    @property
    def audit_tree(self) -> AuditTree: ...


def stored_edge(tree: AuditTree, tenant_id: UUID, size: int) -> Edge | None:
    """Return the edge of the tenant's first `size` leaves, None where stored hashes are gone."""
    places = list(edge_nodes(size))
    stored = tree.nodes(tenant_id, places)
    return Edge(size, [stored[place] for place in places]) if len(stored) == len(places) else None


def key_id(public_key: bytes) -> bytes:
    """Return the 4 bytes by which a note names its key (C2SP signed-note)."""
    return hashlib.sha256(KEY_NAME.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def verifier_key(public_key: bytes) -> str:
    """Return the key in the text form that signed-note's tools take."""
    encoded = base64.b64encode(_ED25519 + public_key).decode()
    return f"{KEY_NAME}+{key_id(public_key).hex()}+{encoded}"


def public_key_of(text: str) -> bytes:
    """Read a key as `verifier_key` writes it, or the 32 bytes alone in base64. Raises ValueError."""
    # Base64 has `+` too: only the first two divide.
    encoded = text.strip().split("+", 2)[-1] if text.startswith(f"{KEY_NAME}+") else text.strip()
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError("Not a public key in base64") from None
    key = raw[1:] if len(raw) == 33 and raw[:1] == _ED25519 else raw
    if len(key) != 32:
        raise ValueError("An Ed25519 public key has 32 bytes")
    if text.startswith(f"{KEY_NAME}+") and verifier_key(key) != text.strip():
        raise ValueError("The key does not have the id that it is written with")
    return key


def signed_note(head: Head, signer: HeadSigner) -> str:
    """Return the head as a signed note. Raises Unavailable."""
    text = head.text()
    public_key, signature = signer.sign(text)
    value = base64.b64encode(key_id(public_key) + signature).decode()
    return f"{text}\n— {KEY_NAME} {value}\n"


def read_note(note: str, keys: Sequence[bytes], verify: VerifySignature) -> Head:
    """Return the head of a note that one of `keys` signed. Raises ValueError, which says what is wrong."""
    text, separator, signatures = note.partition("\n\n")
    text += "\n"
    found = _NOTE.fullmatch(text)
    if not separator or found is None:
        raise ValueError("It is not a signed head.")
    known = {key_id(key): key for key in keys}
    for line in signatures.splitlines():
        signed = _SIGNATURE.fullmatch(line)
        if signed is None or signed["name"] != KEY_NAME:
            continue
        try:
            raw = base64.b64decode(signed["value"], validate=True)
        except binascii.Error:
            continue
        key = known.get(raw[:4])
        if key is not None and verify(key, raw[4:], text.encode()):
            return Head(
                UUID(found["tenant"]),
                int(found["first"]),
                int(found["size"]),
                base64.b64decode(found["root"]),
                datetime.fromisoformat(found["at"]),
            )
    raise ValueError("No key of the hub signed it.")
