"""Uniform replay over Reverb."""

from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.replay import dataset
from kerasrl.replay.packing import Packer
from kerasrl.replay.seeded import SeededSampler
from kerasrl.replay.server import LoopbackServer, release_freed_memory

_TABLE = "replay"
_MOST_ROWS = 64
_FEWEST_ROWS = 16
_MOST_BLOCK_BYTES = 64 * 1024
_FLUSH_EVERY = 16  # Blocks.
_RELEASE_EVERY = 1024  # Blocks.
_STREAM = 2


class Uniform:
    """Experience replay with uniform sampling, in a Reverb server within this process.

    `fit` opens and closes the replay that it makes itself. One that is passed to `fit` stays open,
    with what it holds, for the next `fit`; close it with `close()` or use it as a context manager.

    Args:
        capacity: int, transitions held; the oldest are dropped first. Transitions are stored in
            blocks of up to 64, so that a capacity without a divisor between 16 and 64 is rounded
            down to whole blocks.
        port: int, port of the server, which is reachable from loopback only; None picks a free one.

    Raises:
        ArgumentError: when `capacity` is not a positive int.

    Reference:
        Lin, "Self-improving reactive agents based on reinforcement learning, planning and
        teaching", 1992; Cassirer et al., "Reverb: a framework for experience replay", 2021.
    """

    def __init__(self, capacity: int = 1_000_000, port: int | None = None):
        if not isinstance(capacity, int) or capacity < 1:
            raise ArgumentError(
                f"capacity must be a positive int, in transitions; received {capacity!r}."
            )
        self.capacity = capacity
        self._port = port
        self._server: Any = None
        self._spec: Any = None

    def open(self, spec: dict[str, Any], seed: int | None = None) -> None:
        """Starts the server; does nothing when it runs already with the same spec.

        Args:
            spec: dict of nests of `tf.TensorSpec`: one transition, without a batch dimension.
            seed: int, makes sampling repeatable, at the price of speed; None samples freely. A
                replay that is open already begins a new sequence of draws.

        Raises:
            PortInUse: when the port is taken.
            ReplayError: when it is open with another spec, or is given a seed after it was opened
                without one.
        """
        if self._server is not None:
            if spec != self._spec:
                raise ReplayError(
                    "this replay holds transitions of another shape: it was opened for "
                    f"{self._spec} and is now asked for {spec}. Use a replay of its own for each "
                    "environment."
                )
            self._reseed(seed)
            return
        self._spec = spec
        self.packer = Packer(spec)
        self._rows_per_block = _rows_per_block(self.capacity, self.packer.dtype.itemsize)
        self._block = tf.TensorSpec(
            (self._rows_per_block, self.packer.dtype.itemsize), tf.uint8, name="block"
        )
        self._max_blocks = max(1, self.capacity // self._rows_per_block)
        self._pending = self.packer.rows(self._rows_per_block)
        self._num_pending = 0
        self._num_blocks = 0
        self._server = LoopbackServer([self._table(repeatable=seed is not None)], self._port)
        self._client = reverb.Client(self._server.address)
        self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)
        self._sampler = self._seeded_sampler(seed)

    def insert(self, rows: np.ndarray) -> None:
        """Adds transitions; they can be sampled as soon as their block is full.

        Args:
            rows: structured array of `packer.dtype`, any length.
        """
        self._require_open()
        while len(rows):
            taken = rows[: self._rows_per_block - self._num_pending]
            self._pending[self._num_pending : self._num_pending + len(taken)] = taken
            self._num_pending += len(taken)
            rows = rows[len(taken) :]
            if self._num_pending == self._rows_per_block:
                self._insert_block()

    def flush(self) -> None:
        """Waits until every full block has reached the table."""
        self._require_open()
        self._writer.flush()

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Endless uniform batches, with replacement, of the transitions stored at that time.

        Args:
            batch_size: int, transitions in a batch.

        Returns:
            `tf.data.Dataset` of dicts of nests of `[batch_size, ...]` tensors.
        """
        self._require_open()
        if self._sampler is not None:
            return dataset.repeatable(self._sampler, self._block, self.packer, batch_size)
        return dataset.free_running(
            self._server.address, _TABLE, self._block, self.packer, batch_size
        )

    @property
    def size(self) -> int:
        """int, transitions that can be sampled once they are flushed."""
        if self._server is None:
            return 0
        return min(self._num_blocks, self._max_blocks) * self._rows_per_block

    def info(self, timeout: int = 10) -> Any:
        """Reverb's own account of the table, a `reverb.TableInfo`; its sizes count blocks.

        Args:
            timeout: int, seconds to wait for the server.
        """
        self._require_open()
        return self._client.server_info(timeout)[_TABLE]

    def close(self) -> None:
        """Stops the server; what it holds is gone. Does nothing when it is closed."""
        if self._server is None:
            return
        try:
            if self._sampler is not None:
                self._sampler.close()
            self._writer.close()
        finally:
            self._sampler = self._writer = self._client = None
            server, self._server = self._server, None
            server.stop()

    def __enter__(self) -> "Uniform":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _table(self, repeatable: bool) -> reverb.Table:
        selectors = reverb.selectors
        return reverb.Table(
            _TABLE,
            sampler=selectors.MaxHeap() if repeatable else selectors.Uniform(),
            remover=selectors.Fifo(),
            max_size=self._max_blocks,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature=self._block,
        )

    def _seeded_sampler(self, seed: int | None) -> SeededSampler | None:
        if seed is None:
            return None
        return SeededSampler(self._client, _TABLE, self._max_blocks, _stream(seed))

    def _reseed(self, seed: int | None) -> None:
        if seed is None:
            return
        if self._sampler is None:
            raise ReplayError(
                f"this replay was opened without a seed, so that seed={seed} cannot make its "
                "samples repeatable any more. Give it a seed from the first fit on, or use a new "
                "replay."
            )
        self._sampler.reseed(_stream(seed))

    def _insert_block(self) -> None:
        if self._sampler is not None:
            self._sampler.insert(self._write_and_flush)
        else:
            self._write_block(priority=1.0)
            if self._num_blocks % _FLUSH_EVERY == 0:
                self._writer.flush(block_until_num_items=_FLUSH_EVERY)
        if self._num_blocks % _RELEASE_EVERY == 0:
            release_freed_memory()

    def _write_and_flush(self, priority: float) -> None:
        self._write_block(priority)
        self._writer.flush()

    def _write_block(self, priority: float) -> None:
        self._writer.append(self.packer.to_bytes(self._pending))
        self._writer.create_item(_TABLE, priority, self._writer.history[-1])
        self._num_blocks += 1
        self._num_pending = 0

    def _require_open(self) -> None:
        if self._server is None:
            raise ReplayError("this replay is not open; fit() opens it, or call open(spec).")


def _stream(seed: int) -> np.random.Generator:
    """Random numbers of the replay's own, apart from those of whatever else has this seed."""
    return np.random.default_rng([seed, _STREAM])


def _rows_per_block(capacity: int, row_bytes: int) -> int:
    most = max(1, min(_MOST_ROWS, capacity, _MOST_BLOCK_BYTES // row_bytes))
    fewest = min(most, _FEWEST_ROWS)
    divisors = [rows for rows in range(most, fewest - 1, -1) if capacity % rows == 0]
    return divisors[0] if divisors else most
