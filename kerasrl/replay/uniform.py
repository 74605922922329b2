"""Uniform replay over Reverb."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.arguments import seed_of, whole
from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.experience.packing import Packer
from kerasrl.replay import contents, dataset
from kerasrl.replay.blocks import BlockBuffer, rows_per_block
from kerasrl.replay.memory import warn_if_too_large
from kerasrl.replay.seeded import SeededSampler
from kerasrl.replay.served_replay import ServedReplay
from kerasrl.replay.server.alarm import Alarm
from kerasrl.replay.server.loopback import release_freed_memory
from kerasrl.replay.server.table import ServedTable

_FLUSH_EVERY = 16  # Blocks.
_RELEASE_EVERY = 1024  # Blocks.
_STREAM = 2


class Uniform(ServedReplay):
    """Experience replay with uniform sampling, in a Reverb server within this process.

    `fit` opens and closes the replay that it makes itself. One that is passed to `fit` stays open,
    with what it holds, for the next `fit`; close it with `close()` or use it as a context manager.

    Args:
        capacity: int, items held, such as transitions; the oldest are dropped first. They are
            stored in blocks of up to 64, fewer if they are large, so that a capacity without a
            divisor between 16 and 64 is rounded down to whole blocks.
        port: int, port of the server, which is reachable from loopback only; None picks a free one.
        timeout: float, seconds that a call may wait for the server, or a dataset for something to
            sample, before that is an error.

    Raises:
        ArgumentError: when `capacity` is not a positive int, or `timeout` is not positive.

    Reference:
        Lin, "Self-improving reactive agents based on reinforcement learning, planning and
        teaching", 1992; Cassirer et al., "Reverb: a framework for experience replay", 2021.
    """

    _priority = 1.0  # Of a new block.

    def __init__(self, capacity: int = 1_000_000, port: int | None = None, timeout: float = 60.0):
        self.capacity = whole("capacity", capacity)
        super().__init__(port, timeout)
        self._spec: Any = None

    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Starts the server; does nothing when it runs already with the same spec.

        Args:
            spec: dict of nests of `tf.TensorSpec`: one transition, without a batch dimension.
            seed: int, makes sampling repeatable, at the price of speed; None samples freely. A
                replay that is open already begins a new sequence of draws.
            checkpoint: path of a directory that `save` wrote, to go on from there in place of what
                the replay holds. Repeatable draws go on as they were, whatever the seed is.

        Raises:
            LoadError: when the checkpoint is damaged.
            MismatchError: when the checkpoint was saved with other settings; nothing is changed.
            PortInUse: when the port is taken.
            ReplayError: when it is open with another spec, or is given a seed after it was opened
                without one.
        """
        seed = seed_of(seed)
        if self._table is not None and checkpoint is None:
            self._open_again(spec, seed)
            return
        packer = Packer(spec)
        # Under op determinism no pipeline may give what comes first, as the free-running one does.
        repeatable = seed is not None or dataset.is_deterministic()
        rows = self._choose_rows(packer)
        settings = {
            "replay": type(self).__name__,
            "capacity": self.capacity,
            "rows in a block": rows,
            "repeatable": repeatable,
            "transition": contents.layout(packer),
            **self._own_settings(),
        }
        table, state = (None, None) if checkpoint is None else contents.read(checkpoint, settings)
        self.close()
        warn_if_too_large(self.capacity, packer.dtype.itemsize)
        self._spec, self._packer, self._settings = spec, packer, settings
        self._rows_per_block, self._max_blocks = rows, max(1, self.capacity // rows)
        self._block = tf.TensorSpec((rows, packer.dtype.itemsize), tf.uint8, name="block")
        self._buffer = BlockBuffer(packer, rows)
        self._num_blocks = 0
        self._table = ServedTable(
            lambda name: self._make_table(name, repeatable), self._port, self._timeout, table
        )
        self._alarm: Any = Alarm(self._table.watchdog)
        self._sampler: Any = None
        if repeatable:
            self._sampler = self._make_sampler(_stream(seed))
        if state is not None:
            self._set_state(state)

    def insert(self, rows: np.ndarray) -> None:
        """Adds transitions; they can be sampled as soon as their block is full.

        Args:
            rows: structured array of `packer.dtype`, any length.

        Raises:
            ReplayError: when the server is gone.
        """
        self._require_open()
        for block in self._buffer.append(rows):
            self._insert_block(block)

    def flush(self) -> None:
        """Waits until every full block has reached the table.

        Raises:
            ReplayError: when the server is gone.
        """
        self._require_open()
        self._table.flush()

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Endless uniform batches, with replacement, of the transitions stored at that time.

        After `open` with a checkpoint, the batches that had been drawn and not been trained on come
        first, if they are of the same size and sampling is repeatable.

        Args:
            batch_size: int, transitions in a batch.

        Returns:
            `tf.data.Dataset` of dicts of nests of `[batch_size, ...]` tensors. It ends with an
            error of TensorFlow's when the server is gone, or nothing can be sampled for too long;
            `failure()` tells the replay's own.

        Raises:
            ArgumentError: when `batch_size` is more than the replay can ever hold.
            ReplayError: when the server is gone.
        """
        self._require_open()
        batch_size = whole("batch_size", batch_size)
        held = self._max_blocks * self._rows_per_block
        if batch_size > held:
            raise ArgumentError(
                f"batch_size={batch_size} is more than the replay can ever hold: capacity="
                f"{self.capacity} makes {held} transitions, {self._max_blocks} blocks of "
                f"{self._rows_per_block}, so that every batch would repeat some. Raise capacity, "
                "or lower batch_size."
            )
        self._table.watchdog.look("an account of the table")
        self._table.watchdog.failure = None
        if self._sampler is not None:
            return self._repeatable(batch_size)
        if dataset.is_deterministic():
            raise ReplayError(
                "op determinism was enabled after this replay was opened without a seed. Enable it "
                "before."
            )
        if self._alarm.failure is not None:  # Of a dataset that starved, perhaps long ago.
            self._alarm = Alarm(self._table.watchdog)
        return self._free_running(batch_size)

    def save(self, directory: Path, batches: int) -> None:
        """Writes all that it takes to go on with `open(spec, seed, checkpoint=directory)`.

        Args:
            directory: path of an existing, empty directory.
            batches: int, batches of the newest dataset that have been trained on. Those that were
                drawn ahead of that are saved as well, if sampling is repeatable.

        Raises:
            ReplayError: when the server is gone.
            SaveError: when something cannot be written; the replay goes on.
        """
        self.flush()
        self._table.watchdog.look("a checkpoint")
        sampler = self._sampler
        with contextlib.nullcontext() if sampler is None else sampler.held():
            state = {
                "blocks": self._num_blocks,
                "pending": self._buffer.packed,
                "sampler": None if sampler is None else sampler.get_state(batches),
                **self._own_state(),
            }
            contents.write(directory, self._table.server, self._settings, state)

    @property
    def size(self) -> int:
        """int, transitions that can be sampled once they are flushed."""
        if self._table is None:
            return 0
        return min(self._num_blocks, self._max_blocks) * self._rows_per_block

    def close(self) -> None:
        """Stops the server; what it holds is gone. Does nothing when it is closed."""
        if self._table is None:
            return
        table, self._table = self._table, None
        try:
            self._alarm.close()
            if self._sampler is not None:
                self._sampler.close()
        finally:
            self._sampler = self._alarm = None
            table.close()

    def _own_settings(self) -> dict[str, Any]:
        """What has to be the same where a checkpoint is read."""
        return {}

    def _choose_rows(self, packer: Packer) -> int:
        return rows_per_block(self.capacity, packer.dtype.itemsize)

    def _selector(self) -> Any:
        return reverb.selectors.Uniform()

    def _make_sampler(self, rng: np.random.Generator) -> SeededSampler:
        return SeededSampler(self._table, self._max_blocks, rng)

    def _repeatable(self, batch_size: int) -> tf.data.Dataset:
        packer = self.packer
        return dataset.repeatable(self._sampler, packer.dtype.itemsize, packer.unpack, batch_size)

    def _free_running(self, batch_size: int) -> tf.data.Dataset:
        server = self._table.server
        return dataset.free_running(
            server.address, server.table, self._block, self.packer, batch_size, self._alarm
        )

    def _own_state(self) -> dict[str, Any]:
        return {}

    def _set_own_state(self, state: dict[str, Any]) -> None: ...

    def _make_table(self, name: str, repeatable: bool) -> reverb.Table:
        return reverb.Table(
            name,
            sampler=reverb.selectors.MaxHeap() if repeatable else self._selector(),
            remover=reverb.selectors.Fifo(),
            max_size=self._max_blocks,
            rate_limiter=reverb.rate_limiters.MinSize(1),
            signature=self._block,
        )

    def _open_again(self, spec: dict[str, Any], seed: int | None) -> None:
        if spec != self._spec:
            raise ReplayError(
                "this replay holds transitions of another shape: it was opened for "
                f"{self._spec} and is now asked for {spec}. Use a replay of its own for each "
                "environment."
            )
        if self._sampler is not None:
            self._sampler.reseed(None if seed is None else _stream(seed))
        elif seed is not None:
            raise ReplayError(
                f"this replay was opened without a seed, so that seed={seed} cannot make its "
                "samples repeatable any more. Give it a seed from the first fit on, or use a new "
                "replay."
            )

    def _insert_block(self, block: np.ndarray) -> None:
        self._num_blocks += 1
        if self._sampler is not None:
            self._insert_for_sampler(block)
        else:
            self._table.insert(block, self._priority)
            if self._num_blocks % _FLUSH_EVERY == 0:
                self._table.flush(_FLUSH_EVERY)
        if self._num_blocks % _RELEASE_EVERY == 0:
            release_freed_memory()

    def _insert_for_sampler(self, block: np.ndarray) -> None:
        self._sampler.insert(lambda priority: self._table.insert(block, priority))

    def _set_state(self, state: dict[str, Any]) -> None:
        try:
            with contents.damaged_if_wrong():
                self._num_blocks = state["blocks"]
                self._buffer.packed = state["pending"]
                if self._sampler is not None:
                    self._sampler.set_state(state["sampler"])
                self._set_own_state(state)
        except BaseException:
            self.close()
            raise


def _stream(seed: int | None) -> np.random.Generator:
    """Random numbers of the replay's own, apart from those of whatever else has this seed."""
    return np.random.default_rng(None if seed is None else [seed, _STREAM])
