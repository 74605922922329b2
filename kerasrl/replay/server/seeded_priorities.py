"""Repeatable sampling by priority."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.replay.account import with_account
from kerasrl.replay.server.seeded import SeededSampler
from kerasrl.replay.server.table import ServedTable


class SeededPrioritySampler(SeededSampler):
    """Draws items by their priorities, with replacement, from a NumPy generator.

    Priorities are kept here, as those in Reverb's table tell it what to hand out.

    Args:
        table: as for `SeededSampler`, of blocks of one item.
        max_blocks: int, the table's size.
        rng: `numpy.random.Generator`.
        exponent: float, of the priorities.
    """

    def __init__(
        self, table: ServedTable, max_blocks: int, rng: np.random.Generator, exponent: float
    ):
        super().__init__(table, max_blocks, rng)
        self._exponent = exponent
        self._shares = np.zeros(max_blocks)  # Priorities to the power of the exponent.
        self._indices: dict[int, int] = {}  # Into the shares, by key.

    def insert(  # type: ignore[override]
        self, write: Callable[[float], None], priority: float
    ) -> None:
        """Inserts an item of a priority; see `SeededSampler.insert`."""
        with self.held():
            if len(self._keys) == self._max_blocks:
                del self._indices[self._keys[self._oldest]]
            index = self._insert(write)
            self._indices[self._keys[index]] = index
            self._shares[index] = priority**self._exponent

    def update(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key; those of other keys do not count."""
        with self.held():
            for key, priority in priorities.items():
                if key in self._indices:
                    self._shares[self._indices[key]] = priority**self._exponent

    def get_state(self, batches: int) -> dict[str, Any]:
        """What it takes to go on drawing; to be called while it is `held`."""
        shares = self._shares[: len(self._keys)].copy()
        return {**super().get_state(batches), "shares": shares}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        self._shares[: len(self._keys)] = state["shares"]
        self._indices = {key: index for index, key in enumerate(self._keys)}

    def _drawn_rows(self, batch_size: int) -> np.ndarray:
        sums = np.cumsum(self._shares[: len(self._keys)])
        chosen = np.searchsorted(sums, self._rng.random(batch_size) * sums[-1], side="right")
        chosen = np.minimum(chosen, len(sums) - 1)  # Rounding may go beyond the end.
        keys = np.array([self._keys[i] for i in chosen], np.uint64)
        relative = self._shares[chosen] / sums[-1] * len(sums)
        return with_account(self._fetch_all(chosen)[:, 0], keys, relative)[np.newaxis]
