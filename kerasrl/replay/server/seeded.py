"""Repeatable sampling: the same seed and the same inserts give the same batches.

Reverb's uniform selector cannot be seeded. A table whose selector is `MaxHeap` hands out the item
of the highest priority; raising the priority of one item after another fetches items by key, so the
draws are ours and the storage is Reverb's. This costs a round trip for every distinct block.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.errors import ReplayError
from kerasrl.replay.sampler import Sampler
from kerasrl.replay.server.table import ServedTable

_AWAITED = "blocks to be sampled"


class SeededSampler(Sampler):
    """Draws blocks uniformly, with replacement, from a NumPy generator.

    Args:
        table: `ServedTable` with selector `MaxHeap` and remover `Fifo`.
        max_blocks: int, the table's size; older blocks are forgotten as the table forgets them.
        rng: `numpy.random.Generator`.
    """

    def __init__(self, table: ServedTable, max_blocks: int, rng: np.random.Generator):
        super().__init__(rng, table.waiting)
        self._table: Any = table
        self._max_blocks = max_blocks
        self._watchdog = table.waiting
        self._keys: list[int] = []
        self._oldest = 0
        self._priority = 0.0
        self._samples: Any = None

    def close(self) -> None:
        """Ends sampling; to be called before the server stops."""
        super().close()
        self._table = self._samples = None

    def insert(self, write: Callable[[float], None]) -> None:
        """Inserts a block, and learns its key.

        Args:
            write: callable that inserts the block with the priority that it is given.
        """
        with self.held():
            self._insert(write)

    def get_state(self, batches: int) -> dict[str, Any]:
        """What it takes to go on drawing; to be called while it is `held`."""
        return {
            "keys": np.array(self._keys, np.uint64),
            "oldest": self._oldest,
            "priority": self._priority,
            **super().get_state(batches),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._keys = [int(key) for key in state["keys"]]
        self._oldest, self._priority = state["oldest"], state["priority"]
        super().set_state(state)

    def _require_rows(self) -> None:
        if not self._keys:  # Reverb would wait for ever.
            raise ReplayError("the replay is empty; insert a block of transitions first.")

    def _insert(self, write: Callable[[float], None]) -> int:
        """Inserts a block, and returns the index of its key; another's may have been there."""
        self._priority += 1.0
        write(self._priority)
        self._table.flush()
        key, _ = self._watchdog.bounded(self._highest, _AWAITED)
        if len(self._keys) < self._max_blocks:
            self._keys.append(key)
            return len(self._keys) - 1
        index, self._oldest = self._oldest, (self._oldest + 1) % self._max_blocks
        self._keys[index] = key
        return index

    def _draw(self, batch_size: int) -> np.ndarray:
        return self._watchdog.bounded(lambda: self._drawn_rows(batch_size), _AWAITED)

    def _drawn_rows(self, batch_size: int) -> np.ndarray:
        chosen = self._rng.integers(len(self._keys), size=batch_size)
        blocks = self._fetch_all(chosen)
        order = np.tile(np.arange(blocks.shape[1]), (batch_size, 1))
        order = self._rng.permuted(order, axis=1)
        rows = np.take_along_axis(blocks, order[:, :, np.newaxis], axis=1)
        return rows.transpose(1, 0, 2)

    def _fetch_all(self, chosen: np.ndarray) -> np.ndarray:
        """The blocks `[B, K, D]` of the indices `[B]`; each is fetched once."""
        distinct, index = np.unique(chosen, return_inverse=True)
        return np.stack([self._fetch(self._keys[i]) for i in distinct])[index]

    def _fetch(self, key: int) -> np.ndarray:
        self._priority += 1.0
        table, updates = self._table.server.table, {key: self._priority}
        self._table.client.mutate_priorities(table, updates)
        return self._highest()[1]

    def _highest(self) -> tuple[int, np.ndarray]:
        """The item of the highest priority; Reverb may have fetched a stale one ahead of time."""
        if self._samples is None:
            self._samples = self._table.client.sample(
                self._table.server.table, num_samples=2**62, emit_timesteps=False
            )
        while True:
            sample = next(self._samples)
            if sample.info.priority == self._priority:
                return sample.info.key, sample.data[0]
