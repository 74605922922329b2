"""A sum tree: drawing by shares, and changing shares, in logarithmic time."""

import numpy as np


class SumTree:
    """Shares of a whole, each node of a binary tree being the sum of the two below it.

    Sums are made anew from what is below, so that they depend on the shares alone, and not on what
    these have been.

    Args:
        capacity: int, shares; all are 0 to begin with.

    Reference:
        Schaul et al., "Prioritized experience replay", 2016, appendix B.2.1.
    """

    def __init__(self, capacity: int):
        self._leaves = 1 << max(0, capacity - 1).bit_length()
        self._nodes = np.zeros(2 * self._leaves)  # The root is 1; those below i are 2 i, 2 i + 1.
        self._changed: list[np.ndarray] = []

    def __getitem__(self, index: np.ndarray | slice) -> np.ndarray:
        return self._nodes[self._leaves :][index]

    def set(self, index: np.ndarray, shares: np.ndarray | float) -> None:
        """Sets shares, float64 `[M]`, at indices, int `[M]`."""
        # The sums wait until they are asked for: most shares are set one by one, as items come.
        self._nodes[self._leaves + index] = shares
        self._changed.append(np.asarray(index))

    @property
    def total(self) -> float:
        """The sum of all shares."""
        self._add_up()
        return float(self._nodes[1])

    def find(self, points: np.ndarray) -> np.ndarray:
        """The indices, int64 `[M]`, of the shares in which points, float64 `[M]`, lie.

        Args:
            points: from 0 to the `total`, the shares laid end to end.
        """
        self._add_up()
        node = np.ones(len(points), np.int64)
        points = points.copy()
        for _ in range(self._leaves.bit_length() - 1):
            left = self._nodes[2 * node]
            right = points >= left
            points -= np.where(right, left, 0.0)
            node = 2 * node + right
        return node - self._leaves

    def _add_up(self) -> None:
        if not self._changed:
            return
        node = self._leaves + np.unique(np.concatenate(self._changed))
        self._changed = []
        for _ in range(self._leaves.bit_length() - 1):
            node = node // 2
            self._nodes[node] = self._nodes[2 * node] + self._nodes[2 * node + 1]
