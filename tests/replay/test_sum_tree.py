"""The sum tree against NumPy's cumulative sums."""

import numpy as np
import pytest

from kerasrl.replay.local.ring import Ring
from kerasrl.replay.local.sum_tree import SumTree

pytestmark = pytest.mark.local


@pytest.mark.parametrize("capacity", [1, 2, 3, 8, 100, 1000])
def test_it_finds_what_cumulative_sums_find(capacity):
    rng = np.random.default_rng(capacity)
    tree, shares = SumTree(capacity), np.zeros(capacity)
    for _ in range(20):
        index = rng.integers(capacity, size=rng.integers(1, 50))
        values = rng.integers(1, 1000, size=len(index)) / 8.0  # Whose sums are exact.
        for i, value in zip(index, values, strict=True):
            shares[i] = value
        tree.set(index, values)
        assert tree.total == shares.sum()
        points = np.concatenate([rng.random(200) * shares.sum(), np.cumsum(shares)[:-1], [0.0]])
        points = points[points < shares.sum()]
        expected = np.searchsorted(np.cumsum(shares), points, side="right")
        np.testing.assert_array_equal(tree.find(points), expected)
    np.testing.assert_array_equal(tree[slice(capacity)], shares)


def test_sums_do_not_depend_on_what_shares_have_been():
    rng = np.random.default_rng(0)
    one, other, shares = SumTree(50), SumTree(50), rng.random(50) * 1e-3
    for _ in range(100):
        one.set(np.arange(50), rng.random(50) * 1e9)
    one.set(np.arange(50), shares)
    other.set(np.arange(50), shares)
    assert one.total == other.total


@pytest.mark.parametrize("chunks", [[3, 4], [10], [7, 7, 7], [1] * 25, [23], [10, 10], [0, 5]])
def test_a_ring_holds_the_newest(chunks):
    ring, written = Ring(10, 2), np.zeros((0, 2), np.uint8)
    for chunk in chunks:
        rows = np.random.default_rng(len(written)).integers(256, size=(chunk, 2), dtype=np.uint8)
        ring.append(rows)
        written = np.concatenate([written, rows])
        assert ring.inserted == len(written)
        assert ring.size == min(10, len(written))
        for i in range(max(0, len(written) - 10), len(written)):
            np.testing.assert_array_equal(ring.rows[i % 10], written[i])
