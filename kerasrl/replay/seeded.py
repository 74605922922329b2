"""Repeatable sampling: the same seed and the same inserts give the same batches.

Reverb's uniform selector cannot be seeded. A table whose selector is `MaxHeap` hands out the item
of the highest priority; raising the priority of one item after another fetches items by key, so the
draws are ours and the storage is Reverb's. This costs a round trip for every distinct block.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import reverb

from kerasrl.errors import ReplayError


class SeededSampler:
    """Draws blocks uniformly, with replacement, from a NumPy generator.

    Args:
        client: `reverb.Client` of a server in this process.
        table: str, a table with selector `MaxHeap` and remover `Fifo`.
        max_blocks: int, the table's size; older blocks are forgotten as the table forgets them.
        rng: `numpy.random.Generator`.
    """

    def __init__(
        self, client: reverb.Client, table: str, max_blocks: int, rng: np.random.Generator
    ):
        self._client: Any = client
        self._table = table
        self._max_blocks = max_blocks
        self._rng = rng
        self._keys: list[int] = []
        self._oldest = 0
        self._priority = 0.0
        self._lock = threading.Lock()
        self._samples: Any = client.sample(table, num_samples=2**62, emit_timesteps=False)

    def reseed(self, rng: np.random.Generator) -> None:
        """Draws from another generator from now on."""
        with self._lock:
            self._rng = rng

    def close(self) -> None:
        """Ends sampling; to be called before the server stops."""
        with self._lock:
            # TensorFlow never lets go of a dataset's Python function, nor that of this sampler.
            self._client = self._samples = None
            self._keys = []

    def insert(self, write: Callable[[float], None]) -> None:
        """Inserts a block, and learns its key.

        Args:
            write: callable that inserts the block with the priority that it is given, and returns
                when the table has it.
        """
        with self._lock:
            self._priority += 1.0
            write(self._priority)
            key, _ = self._highest()
            if len(self._keys) < self._max_blocks:
                self._keys.append(key)
            else:
                self._keys[self._oldest] = key
                self._oldest = (self._oldest + 1) % self._max_blocks

    def draw(self, batch_size: int) -> np.ndarray:
        """Draws as many batches as a block has rows.

        Args:
            batch_size: int, B.

        Returns:
            uint8 `[K, B, D]`: K batches of B rows of D bytes.

        Raises:
            ReplayError: when there is nothing to draw from, where Reverb would wait for ever.
        """
        with self._lock:
            if self._client is None:
                raise ReplayError("the replay that these batches are drawn from is closed.")
            if not self._keys:
                raise ReplayError("the replay is empty; insert a block of transitions first.")
            chosen = self._rng.integers(len(self._keys), size=batch_size)
            distinct, index = np.unique(chosen, return_inverse=True)
            blocks = np.stack([self._fetch(self._keys[i]) for i in distinct])[index]  # [B, K, D]
            order = np.tile(np.arange(blocks.shape[1]), (batch_size, 1))
            order = self._rng.permuted(order, axis=1)
        rows = np.take_along_axis(blocks, order[:, :, np.newaxis], axis=1)
        return rows.transpose(1, 0, 2)

    def _fetch(self, key: int) -> np.ndarray:
        self._priority += 1.0
        self._client.mutate_priorities(self._table, {key: self._priority})
        return self._highest()[1]

    def _highest(self) -> tuple[int, np.ndarray]:
        """The item of the highest priority; Reverb may have fetched a stale one ahead of time."""
        while True:
            sample = next(self._samples)
            if sample.info.priority == self._priority:
                return sample.info.key, sample.data[0]
