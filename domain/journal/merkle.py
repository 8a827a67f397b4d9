"""The Merkle tree of RFC 9162 (section 2.1) with SHA-256: what a signed head says about every row below it.

A tree over n leaves is made of perfect subtrees. The hash of the one at `level` and `position` covers the 2^level
leaves from `position * 2^level` on and never changes again, so it can be stored; everything else is computed from
these. Hashes are 32 bytes, leaves are counted from 0."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

#: The head of a tree without leaves.
EMPTY = hashlib.sha256(b"").digest()

#: Reads the stored hash of a perfect subtree by level and position.
ReadNode = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Node:
    """A perfect subtree's hash."""

    level: int
    position: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf, which no inner node can have: its input begins with another byte."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """The perfect subtrees that `size` leaves consist of, the largest first: all that appending needs to know.

    Raises ValueError when `hashes` are not as many as `size` has."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count():
            raise ValueError(f"{size} leaves make {size.bit_count()} perfect subtrees, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> list[Node]:
        """Add a leaf; return the perfect subtrees that this completes, the leaf itself first."""
        made = [Node(0, self.size, leaf)]
        level, rest = 0, self.size
        while rest & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            level, rest = level + 1, rest >> 1
            made.append(Node(level, rest, leaf))
        self.hashes.append(leaf)
        self.size += 1
        return made

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY
        *larger, root = self.hashes
        for hash_ in reversed(larger):
            root = node_hash(hash_, root)
        return root


def edge_nodes(size: int) -> Iterator[tuple[int, int]]:
    """Yield level and position of the perfect subtrees that `size` leaves consist of, the largest first."""
    start = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level, start >> level
            start += 1 << level


def inclusion_path(index: int, size: int, read: ReadNode) -> list[bytes]:
    """Return the hashes that lead from leaf `index` to the head of `size` leaves (section 2.1.3.1).

    Raises ValueError for a leaf that the tree does not have."""
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    start = 0
    while size > 1:
        half = _split(size)
        if index < half:
            path.append(_range_hash(start + half, size - half, read))
            size = half
        else:
            path.append(_range_hash(start, half, read))
            start, index, size = start + half, index - half, size - half
    return path[::-1]


def root_of_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """Return the head to which a path leads (section 2.1.3.2), or None when it has a wrong length."""
    if not 0 <= index < size:
        return None
    first, last, hash_ = index, size - 1, leaf
    for step in path:
        if last == 0:
            return None
        if first & 1 or first == last:
            hash_ = node_hash(step, hash_)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, step)
        first, last = first >> 1, last >> 1
    return hash_ if last == 0 else None


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _range_hash(start: int, size: int, read: ReadNode) -> bytes:
    """Return the hash over `size` leaves from `start` on, where `start` is a multiple of a power of two >= `size`."""
    if size.bit_count() == 1:
        level = size.bit_length() - 1
        return read(level, start >> level)
    half = _split(size)
    return node_hash(
        read(half.bit_length() - 1, start >> half.bit_length() - 1),
        _range_hash(start + half, size - half, read),
    )
