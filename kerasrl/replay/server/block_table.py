"""Tables of blocks of items in a Reverb server."""

import contextlib
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.replay.dataset import on_demand
from kerasrl.replay.server import pipelines
from kerasrl.replay.server.alarm import Alarm
from kerasrl.replay.server.blocks import BlockBuffer, rows_per_block
from kerasrl.replay.server.loopback import release_freed_memory
from kerasrl.replay.server.seeded import SeededSampler
from kerasrl.replay.server.seeded_priorities import SeededPrioritySampler
from kerasrl.replay.server.table import ServedTable
from kerasrl.replay.server.watchdog import Watchdog
from kerasrl.replay.tables import Plan, SampledTable

_FLUSH_EVERY = 16  # Blocks.
_RELEASE_EVERY = 1024  # Blocks.


class BlockTable(SampledTable):
    """Items that are sampled uniformly, and that are stored in blocks: only full ones are sampled.

    Args:
        plan: the `Plan`.
        port: int, port of the server; None picks a free one.
        contents: path of a directory that `write` wrote; `set_state` is to follow. None is empty.

    Attributes:
        server: `LoopbackServer`.
    """

    waiting: Watchdog

    def __init__(self, plan: Plan, port: int | None, contents: Path | None):
        self._plan = plan
        self._rows = rows_per_block(plan)
        self._max_blocks = max(1, plan.capacity // self._rows)
        self.most = self._max_blocks * self._rows
        width = plan.packer.dtype.itemsize
        self._block = tf.TensorSpec((self._rows, width), tf.uint8, name="block")
        self._buffer = BlockBuffer(plan.packer, self._rows)
        self._num_blocks = 0
        self._served = ServedTable(self._make_table, port, plan.timeout, contents)
        self.server = self._served.server
        self.waiting = self._served.waiting
        self._alarm = Alarm(self.waiting)
        self._sampler: Any = self._make_sampler() if plan.repeatable else None

    @property
    def size(self) -> int:
        """int, items that can be sampled once they are flushed."""
        return min(self._num_blocks, self._max_blocks) * self._rows

    def insert(self, rows: np.ndarray, priority: float) -> None:
        """Adds a structured array of items, all of one priority."""
        for block in self._buffer.append(rows):
            self._num_blocks += 1
            if self._sampler is not None:
                self._insert_for_sampler(block, priority)
            else:
                self._served.insert(block, priority)
                if self._num_blocks % _FLUSH_EVERY == 0:
                    self._served.flush(_FLUSH_EVERY)
            if self._num_blocks % _RELEASE_EVERY == 0:
                release_freed_memory()

    def flush(self) -> None:
        """Waits until every full block has reached the table."""
        self._served.flush()

    def update(self, priorities: dict[int, float]) -> None:
        """Does nothing, as all blocks are alike."""

    def reseed(self, rng: np.random.Generator | None) -> None:
        """Begins a new sequence of repeatable draws."""
        self._sampler.reseed(rng)

    def dataset(self, batch_size: int, unpack: Any) -> tf.data.Dataset:
        """Endless batches, see `SampledTable.dataset`."""
        if self._sampler is not None:
            return on_demand(self._sampler, self._plan.width, unpack, batch_size)
        if self._alarm.failure is not None:  # Of a dataset that starved, perhaps long ago.
            self._alarm = Alarm(self.waiting)
        return self._free_running(batch_size, unpack)

    def held(self) -> AbstractContextManager[None]:
        """Keeps other threads from drawing."""
        return contextlib.nullcontext() if self._sampler is None else self._sampler.held()

    def get_state(self, batches: int) -> dict[str, Any]:
        """What `write` does not, to go on from; to be called while it is `held`."""
        return {
            "blocks": self._num_blocks,
            "pending": self._buffer.packed,
            "sampler": None if self._sampler is None else self._sampler.get_state(batches),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._num_blocks = state["blocks"]
        self._buffer.packed = state["pending"]
        if self._sampler is not None:
            self._sampler.set_state(state["sampler"])

    def write(self, directory: Path) -> None:
        """Writes the full blocks into a new directory."""
        self._served.write(directory)

    def info(self, timeout: float) -> Any:
        """Reverb's account of the table, whose items are blocks."""
        return self._served.info(timeout)

    def close(self) -> None:
        """Ends sampling, and stops the server."""
        try:
            self._alarm.close()
            if self._sampler is not None:
                self._sampler.close()
        finally:
            self._served.close()

    def _selector(self) -> Any:
        return reverb.selectors.Uniform()

    def _make_sampler(self) -> SeededSampler:
        return SeededSampler(self._served, self._max_blocks, self._plan.rng)

    def _make_table(self, name: str) -> reverb.Table:
        return reverb.Table(
            name,
            sampler=reverb.selectors.MaxHeap() if self._plan.repeatable else self._selector(),
            remover=reverb.selectors.Fifo(),
            max_size=self._max_blocks,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature=self._block,
        )

    def _insert_for_sampler(self, block: np.ndarray, priority: float) -> None:
        self._sampler.insert(lambda order: self._served.insert(block, order))

    def _free_running(self, batch_size: int, unpack: Any) -> tf.data.Dataset:
        server = self.server
        return pipelines.free_running(
            server.address, server.table, self._block, unpack, batch_size, self._alarm
        )


class PriorityTable(BlockTable):
    """Items that are sampled by priority, each in a block of its own; see `BlockTable`."""

    def update(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key; those of other keys do not count."""
        if self._sampler is not None:
            self._sampler.update(priorities)
            return
        with self.waiting.guarding("priorities to be updated"):
            self._served.client.mutate_priorities(self.server.table, priorities)

    def _selector(self) -> Any:
        return reverb.selectors.Prioritized(self._plan.exponent)

    def _make_sampler(self) -> SeededSampler:
        exponent: Any = self._plan.exponent
        return SeededPrioritySampler(self._served, self._max_blocks, self._plan.rng, exponent)

    def _insert_for_sampler(self, block: np.ndarray, priority: float) -> None:
        self._sampler.insert(lambda order: self._served.insert(block, order), priority)

    def _free_running(self, batch_size: int, unpack: Any) -> tf.data.Dataset:
        server = self.server
        return pipelines.free_running_items(
            server.address,
            server.table,
            self._block,
            _describe,
            self._plan.width,
            unpack,
            batch_size,
            self._alarm,
        )


def _describe(info: Any) -> tf.Tensor:
    """The key of a sample, and its probability times the number of items, as uint8 `[16]`."""
    relative = info.probability * tf.cast(info.table_size, tf.float64)
    return tf.concat([tf.bitcast(info.key, tf.uint8), tf.bitcast(relative, tf.uint8)], axis=0)
