"""Repeatable sampling: the same seed and the same inserts give the same batches.

Reverb's uniform selector cannot be seeded. A table whose selector is `MaxHeap` hands out the item
of the highest priority; raising the priority of one item after another fetches items by key, so the
draws are ours and the storage is Reverb's. This costs a round trip for every distinct block.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.replay.server.table import ServedTable

_AWAITED = "blocks to be sampled"
_REMEMBERED = 8  # Draws; pipelines ask for a few ahead of time.


class SeededSampler:
    """Draws blocks uniformly, with replacement, from a NumPy generator.

    Args:
        table: `ServedTable` with selector `MaxHeap` and remover `Fifo`.
        max_blocks: int, the table's size; older blocks are forgotten as the table forgets them.
        rng: `numpy.random.Generator`.
    """

    def __init__(self, table: ServedTable, max_blocks: int, rng: np.random.Generator):
        self._table: Any = table
        self._max_blocks = max_blocks
        self._rng = rng
        self._watchdog = table.watchdog
        self._keys: list[int] = []
        self._oldest = 0
        self._priority = 0.0
        self._lock = threading.Lock()
        self._samples: Any = None
        self._rest: np.ndarray | None = None
        self._forget()

    def reseed(self, rng: np.random.Generator | None) -> None:
        """Lets go of batches drawn already, and draws from another generator if one is given."""
        with self.held():
            self._rest = None
            self._forget()
            self._rng = self._rng if rng is None else rng

    def close(self) -> None:
        """Ends sampling; to be called before the server stops."""
        with contextlib.suppress(ReplayError), self.held():
            pass  # A draw that is under way ends first.
        self._table = self._samples = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other threads from drawing.

        Raises:
            ReplayError: when one of them does not end.
        """
        if not self._lock.acquire(timeout=2 * self._watchdog.wait):
            raise self._watchdog.explain(_AWAITED, TimeoutError("another draw does not end"))
        try:
            yield
        finally:
            self._lock.release()

    def insert(self, write: Callable[[float], None]) -> None:
        """Inserts a block, and learns its key.

        Args:
            write: callable that inserts the block with the priority that it is given.
        """
        with self.held():
            self._insert(write)

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

    def draws(self, batch_size: int) -> Iterator[np.ndarray]:
        """Draws batches for ever, beginning with those that were drawn before the state was saved.

        Args:
            batch_size: int, B.

        Returns:
            Iterator over uint8 `[N, B, D]`: as many batches as a block has rows, or as are left.
        """
        self._watchdog.check_begun()
        with self.held():
            rest, self._rest = self._rest, None
            self._forget()
            if rest is not None and rest.shape[1] == batch_size:
                self._drawn.append(rest)
        if self._drawn:
            yield self._drawn[0]
        while True:
            yield self.draw(batch_size)

    def draw(self, batch_size: int) -> np.ndarray:
        """Draws as many batches as a block has rows.

        Args:
            batch_size: int, B.

        Returns:
            uint8 `[K, B, D]`: K batches of B rows of D bytes.

        Raises:
            ReplayError: when there is nothing to draw from, where Reverb would wait for ever.
        """
        with self._watchdog.recording(), self.held():
            if self._table is None:
                raise ReplayError("the replay that these batches are drawn from is closed.")
            if not self._keys:
                raise ReplayError("the replay is empty; insert a block of transitions first.")
            drawn = self._watchdog.bounded(lambda: self._draw(batch_size), _AWAITED)
            if len(self._drawn) == _REMEMBERED:
                self._forgotten += len(self._drawn.popleft())
            self._drawn.append(drawn)
        return drawn

    def get_state(self, batches: int) -> dict[str, Any]:
        """What it takes to go on drawing; to be called while it is `held`.

        Args:
            batches: int, those used since the newest pipeline began.

        Raises:
            ArgumentError: when so many cannot have been used.
        """
        return {
            "keys": np.array(self._keys, np.uint64),
            "oldest": self._oldest,
            "priority": self._priority,
            "random": self._rng.bit_generator.state,
            "rest": self._left_after(batches) if self._rest is None else self._rest,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._keys = [int(key) for key in state["keys"]]
        self._oldest, self._priority = state["oldest"], state["priority"]
        self._rng.bit_generator.state = state["random"]
        self._rest = state["rest"]

    def _forget(self) -> None:
        self._drawn: collections.deque[np.ndarray] = collections.deque()
        self._forgotten = 0

    def _left_after(self, batches: int) -> np.ndarray | None:
        """The batches drawn and not used, `[N, B, D]`."""
        left, used = list(self._drawn), batches - self._forgotten
        while left and used >= len(left[0]) > 0:
            used -= len(left.pop(0))
        if used < 0 or (used and not left):
            raise ArgumentError(
                f"batches={batches} cannot have been used: {self._forgotten} and the newest "
                f"{sum(map(len, self._drawn))} were drawn since the dataset began."
            )
        return np.concatenate([left[0][used:], *left[1:]]) if left else None

    def _draw(self, batch_size: int) -> np.ndarray:
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
