"""Drawing from a ring."""

from typing import Any

import numpy as np

from kerasrl.errors import ReplayError
from kerasrl.replay.account import with_account
from kerasrl.replay.local.ring import Ring
from kerasrl.replay.local.sum_tree import SumTree
from kerasrl.replay.sampler import Sampler
from kerasrl.replay.waiting import Waiting

_AWAITED = "something to sample"
_TOGETHER = 16  # Batches that are drawn at once at most,
_BYTES = 2**22  # as long as they are no more than that.


class RingSampler(Sampler):
    """Draws rows uniformly, with replacement.

    Args:
        ring: `Ring` to draw from; written to by `insert` alone.
        rng: `numpy.random.Generator`.
        waiting: `Waiting` of the table.
        repeatable: bool, whether batches are remembered until they are used, and an empty ring is
            an error at once, as what would be drawn after waiting depends on who comes first.

    Attributes:
        sampled: int, rows drawn so far.
    """

    def __init__(self, ring: Ring, rng: np.random.Generator, waiting: Waiting, repeatable: bool):
        super().__init__(rng, waiting, remembers=repeatable)
        self._ring = ring
        self._repeatable = repeatable
        self.sampled = 0

    def insert(self, rows: np.ndarray, priority: float) -> None:
        """Adds rows, uint8 `[N, D]`, of a priority."""
        with self.held():
            self._ring.append(rows)
            self._changed.notify_all()

    def update(self, priorities: dict[int, float]) -> None:
        """Does nothing, as all rows are alike."""

    def _require_rows(self) -> None:
        if self._ring.size:
            return
        if self._repeatable:
            raise ReplayError("the replay is empty; insert something first.")
        if not self._waiting.until(self._changed, self._has_changed, _AWAITED):
            raise ReplayError("the process ended while the replay was empty.")
        self._require_open()

    def _has_changed(self) -> bool:
        return self._closed or self._ring.size > 0

    def _draw(self, batch_size: int) -> np.ndarray:
        together = max(1, min(_TOGETHER, _BYTES // (batch_size * self._ring.rows.shape[1])))
        self.sampled += together * batch_size
        chosen = self._rng.integers(self._ring.size, size=(together, batch_size))
        return self._ring.rows.take(chosen, axis=0)


class PriorityRingSampler(RingSampler):
    """Draws rows by their priorities, with replacement, each batch when it is asked for.

    A row's key is its number: the first that was ever written has 0.

    Args:
        ring: see `RingSampler`.
        rng: see `RingSampler`.
        waiting: see `RingSampler`.
        repeatable: see `RingSampler`.
        exponent: float, of the priorities.
    """

    def __init__(
        self,
        ring: Ring,
        rng: np.random.Generator,
        waiting: Waiting,
        repeatable: bool,
        exponent: float,
    ):
        super().__init__(ring, rng, waiting, repeatable)
        self._exponent = exponent
        self._shares = SumTree(ring.capacity)

    def insert(self, rows: np.ndarray, priority: float) -> None:
        """Adds rows, uint8 `[N, D]`, of a priority."""
        with self.held():
            self._ring.append(rows)
            newest = np.arange(self._ring.inserted - len(rows), self._ring.inserted)
            self._shares.set(newest % self._ring.capacity, priority**self._exponent)
            self._changed.notify_all()

    def update(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key; those of other keys do not count."""
        keys = np.fromiter(priorities, np.uint64, len(priorities)).astype(np.int64)
        shares = np.fromiter(priorities.values(), np.float64, len(priorities)) ** self._exponent
        with self.held():
            inserted = self._ring.inserted
            there = (keys >= inserted - self._ring.size) & (keys < inserted)
            self._shares.set(keys[there] % self._ring.capacity, shares[there])

    def get_state(self, batches: int) -> dict[str, Any]:
        """What it takes to go on drawing; to be called while it is `held`."""
        shares = self._shares[slice(self._ring.size)].copy()
        return {**super().get_state(batches), "shares": shares}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called, once the ring is what it was."""
        super().set_state(state)
        self._shares.set(np.arange(self._ring.size), state["shares"])

    def _draw(self, batch_size: int) -> np.ndarray:
        size, total = self._ring.size, self._shares.total
        chosen = self._shares.find(self._rng.random(batch_size) * total)
        chosen = np.minimum(chosen, size - 1)  # Rounding may go beyond the end.
        self.sampled += batch_size
        oldest = self._ring.inserted - size
        keys = oldest + (chosen - oldest) % self._ring.capacity
        relative = self._shares[chosen] / total * size
        return with_account(self._ring.rows[chosen], keys, relative)[np.newaxis]
