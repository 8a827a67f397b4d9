"""Verify an export of the audit log without the hub: `python -m infra.audit_verify EXPORT --key KEY`.

EXPORT is a file with the parts of `GET /api/audit/export` one after another, or one answer of
`GET /api/audit/proof/{sequence}`. KEY is a public key of `GET /api/audit/keys`, taken over another way than the
export; several may be given. Exits with 0 when everything holds, with 1 when not, saying what does not."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from domain.journal.audit_heads import Head, public_key_of, read_note
from domain.journal.merkle import Edge, leaf_hash, root_of_inclusion
from infra.audit_signing import holds


class Unproven(Exception):
    """What the export claims does not hold; its text says what."""


def verify_proof(proof: dict[str, Any], keys: Sequence[bytes]) -> str:
    """Check the proof of one row; return what it proves. Raises Unproven."""
    head = _head(proof.get("head"), keys)
    try:
        leaf = bytes.fromhex(proof["leafHash"])
        path = [bytes.fromhex(step) for step in proof["path"]]
        index, sequence = int(proof["leafIndex"]), int(proof["sequence"])
    except (KeyError, TypeError, ValueError):
        raise Unproven("The file is no proof.") from None
    row = proof.get("row")
    if row is not None:
        named = json.loads(row)
        if leaf_hash(row.encode()) != leaf or named["sequence"] != sequence:
            raise Unproven("The row is not the one that the path begins with.")
        if named["tenantId"] != str(head.tenant_id):
            raise Unproven("The row is another tenant's.")
    if sequence != head.first + index:
        raise Unproven("The row is not at the place that the path leads from.")
    if root_of_inclusion(index, head.size, leaf, path) != head.root:
        raise Unproven("The path does not lead to the signed head.")
    return f"Row {sequence} is in the log whose {head.size} rows were signed at {head.signed_at.isoformat()}."


def verify_export(lines: Iterable[str], keys: Sequence[bytes]) -> str:
    """Check the parts of an export; return what they prove. Raises Unproven."""
    walk = _Walk(keys)
    for line in lines:
        if line.strip():
            walk.take(line.rstrip("\r\n"))
    return walk.end()


class _Walk:
    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys
        self._head: Head | None = None
        self._edge = Edge()
        self._expected = 0
        self._previous: str | None = None
        self._rows = 0
        self._roots: dict[int, bytes] = {}

    def take(self, line: str) -> None:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Unproven(f"A line after row {self._expected - 1} is no JSON object.")
        if "below" in value:
            self._begin(value)
        else:
            self._row(line, value)

    def _begin(self, part: dict[str, Any]) -> None:
        head = _head(part.get("head"), self._keys)
        if self._head is None:
            self._expected = int(part["after"]) + 1
            size = min(max(self._expected - head.first, 0), head.size)
            try:
                self._edge = Edge(size, [bytes.fromhex(hash_) for hash_ in part["below"]])
            except ValueError as reason:
                raise Unproven(f"The tree below the first row does not hold: {reason}.") from None
            self._head = head
        elif int(part["after"]) + 1 != self._expected:
            raise Unproven(f"Rows from {self._expected} on are missing between two parts.")
        elif (head.tenant_id, head.first) != (self._head.tenant_id, self._head.first):
            raise Unproven("The parts are of different logs.")
        elif head.size > self._head.size:
            self._head = head
        self._roots[self._edge.size] = self._edge.root()

    def _row(self, line: str, row: dict[str, Any]) -> None:
        if self._head is None:
            raise Unproven("The export does not begin with a part's first line.")
        if row.get("sequence") != self._expected:
            raise Unproven(f"Row {self._expected} is missing.")
        if row.get("tenantId") != str(self._head.tenant_id):
            raise Unproven(f"Row {self._expected} is another tenant's.")
        if self._previous is not None and row.get("previousHash") != self._previous:
            raise Unproven(f"Row {self._expected} does not follow the one before it.")
        self._previous = hashlib.sha256(line.encode()).hexdigest()
        self._edge.append(leaf_hash(line.encode()))
        self._roots[self._edge.size] = self._edge.root()
        self._expected += 1
        self._rows += 1

    def end(self) -> str:
        head = self._head
        if head is None:
            raise Unproven("The file is empty.")
        root = self._roots.get(head.size)
        if root is None:
            raise Unproven(f"Rows up to {head.last} were signed, and the export ends before.")
        if root != head.root:
            raise Unproven(
                f"The rows up to {head.last} are not those that were signed at {head.signed_at.isoformat()}."
            )
        beyond = max(self._expected - 1 - head.last, 0)
        unsigned = f" {beyond} newer rows follow them and were not signed yet." if beyond else ""
        return f"{self._rows} rows hold; those up to {head.last} were signed at {head.signed_at.isoformat()}.{unsigned}"


def _head(note: object, keys: Sequence[bytes]) -> Head:
    if not isinstance(note, str):
        raise Unproven("There is no signed head in it.")
    try:
        return read_note(note, keys, holds)
    except ValueError as reason:
        raise Unproven(f"The head does not hold. {reason}") from None


def _proof(text: str) -> dict[str, Any] | None:
    """Return the proof that the text is, or None where it is an export."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "leafHash" in value else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.audit_verify", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", action="append", required=True, type=public_key_of, help="a public key")
    given = parser.parse_args(arguments)
    text = given.export.read_text(encoding="utf-8")
    try:
        proof = _proof(text)
        told = verify_proof(proof, given.key) if proof else verify_export(text.splitlines(), given.key)
    except Unproven as reason:
        print(f"NOT PROVEN: {reason}", file=sys.stderr)  # noqa: T201 - the answer of a command
        return 1
    print(told)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
