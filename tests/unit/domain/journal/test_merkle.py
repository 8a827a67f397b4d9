"""The tree of the audit log, compared with another implementation of RFC 9162."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from domain.journal.merkle import (
    EMPTY,
    Edge,
    edge_nodes,
    inclusion_path,
    leaf_hash,
    root_of_inclusion,
)


def entry(number: int) -> bytes:
    return b"row %d" % number


def grown(size: int) -> tuple[Edge, dict[tuple[int, int], bytes]]:
    edge, stored = Edge(), {}
    for number in range(size):
        for node in edge.append(leaf_hash(entry(number))):
            stored[node.level, node.position] = node.hash
    return edge, stored


def other_tree(size: int) -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for number in range(size):
        tree.append_entry(entry(number))
    return tree


def test_a_tree_without_leaves_has_the_head_of_the_rfc() -> None:
    assert Edge().root() == EMPTY == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 100])
def test_heads_are_those_of_another_implementation(size: int) -> None:
    edge, stored = grown(size)
    assert edge.root() == other_tree(size).get_root(size)
    assert Edge(size, [stored[place] for place in edge_nodes(size)]).root() == edge.root()
    # Each perfect subtree is stored once: two a leaf, less one for each at the edge.
    assert len(stored) == 2 * size - size.bit_count()


def test_every_earlier_head_can_be_computed_again_from_what_is_stored() -> None:
    _, stored = grown(70)
    for size in range(71):
        assert Edge(size, [stored[place] for place in edge_nodes(size)]).root() == grown(size)[0].root()


def test_paths_hold_for_the_other_implementation_and_its_heads_for_ours() -> None:
    for size in (1, 2, 3, 7, 8, 13, 64, 65):
        _, stored = grown(size)
        tree = other_tree(size)
        for index in range(size):
            path = inclusion_path(index, size, lambda *at, stored=stored: stored[at])
            assert root_of_inclusion(index, size, leaf_hash(entry(index)), path) == tree.get_root(size)
            # The other one lists the leaf itself among the hashes, ours not (section 2.1.3.1).
            assert set(path) == set(tree.prove_inclusion(index + 1, size).path) - {leaf_hash(entry(index))}


@settings(deadline=None)
@given(st.data())
def test_a_path_that_was_changed_leads_elsewhere(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 40))
    index = data.draw(st.integers(0, size - 1))
    edge, stored = grown(size)
    path = inclusion_path(index, size, lambda *at: stored[at])
    leaf, root = leaf_hash(entry(index)), edge.root()
    changed = list(path)
    place = data.draw(st.integers(0, len(path) - 1))
    what = data.draw(st.sampled_from(["hash", "less", "more", "leaf", "index"]))
    if what == "hash":
        changed[place] = bytes([path[place][0] ^ 1]) + path[place][1:]
    elif what == "less":
        del changed[place]
    elif what == "more":
        changed.insert(place, path[place])
    elif what == "leaf":
        leaf = leaf_hash(entry(size))
    else:
        index = (index + data.draw(st.integers(1, size - 1))) % size
    assert root_of_inclusion(index, size, leaf, changed) != root


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_a_leaf_that_is_not_there_has_no_path(index: int) -> None:
    _, stored = grown(5)
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_path(index, 5, lambda *at: stored[at])
    assert root_of_inclusion(index, 5, EMPTY, []) is None


def test_an_edge_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="perfect subtrees"):
        Edge(3, [EMPTY])
    assert list(edge_nodes(0)) == []
    assert list(edge_nodes(13)) == [(3, 0), (2, 2), (0, 12)]
