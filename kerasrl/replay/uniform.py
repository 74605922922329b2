"""Uniform replay."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import seed_of, whole
from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.experience.packing import Packer
from kerasrl.replay import contents, dataset, stores
from kerasrl.replay.memory import warn_if_too_large
from kerasrl.replay.stored import StoredReplay
from kerasrl.replay.tables import Plan

_STREAM = 2


class Uniform(StoredReplay):
    """Experience replay with uniform sampling.

    `fit` opens and closes the replay that it makes itself. One that is passed to `fit` stays open,
    with what it holds, for the next `fit`; close it with `close()` or use it as a context manager.

    Args:
        capacity: int, items held, such as transitions; the oldest are dropped first. In a Reverb
            server they are stored in blocks of up to 64, fewer if they are large, so that a
            capacity without a divisor between 16 and 64 is rounded down to whole blocks.
        port: int, port of a Reverb server, which is reachable from loopback only; None picks a free
            one.
        timeout: float, seconds that a call may wait for a server, or a dataset for something to
            sample, before that is an error.
        store: str, where items are: `"reverb"`, in a server within this process, compressed;
            `"local"`, in its memory; `"auto"`, in a server where Reverb is installed.
        directory: path of an existing directory, to have the items of a local store in a file there
            that is mapped into memory, and is gone when the replay is closed; it takes its room at
            once. None for memory.

    Raises:
        ArgumentError: when `capacity` is not a positive int, `timeout` is not positive, or a store
            is asked for that there is not, or that has no port or no directory.

    Reference:
        Lin, "Self-improving reactive agents based on reinforcement learning, planning and
        teaching", 1992; Cassirer et al., "Reverb: a framework for experience replay", 2021.
    """

    exponent: float | None = None  # Of priorities.
    _priority = 1.0  # Of a new item.

    def __init__(
        self,
        capacity: int = 1_000_000,
        port: int | None = None,
        timeout: float = 60.0,
        store: str = "auto",
        directory: str | os.PathLike[str] | None = None,
    ):
        self.capacity = whole("capacity", capacity)
        super().__init__(stores.chosen(store, port, directory), timeout)
        self._spec: Any = None
        self._in_memory = directory is None

    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Makes ready to hold items; does nothing when it is open already with the same spec.

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
        # Under op determinism no pipeline may give what comes first, as a free-running one does.
        repeatable = seed is not None or dataset.is_deterministic()
        plan = Plan(packer, self.capacity, self.exponent, repeatable, _stream(seed), self._timeout)
        settings = {
            "replay": type(self).__name__,
            "capacity": self.capacity,
            "repeatable": repeatable,
            "transition": contents.layout(packer),
            **self._store.settings(plan),
            **self._own_settings(),
        }
        table, state = (None, None) if checkpoint is None else contents.read(checkpoint, settings)
        self.close()
        if self._in_memory:
            warn_if_too_large(self.capacity, packer.dtype.itemsize)
        self._spec, self._packer, self._settings = spec, packer, settings
        self._repeatable = repeatable
        self._table = self._store.sampled(plan, table)
        if state is not None:
            self._set_state(state)

    def insert(self, rows: np.ndarray) -> None:
        """Adds transitions; in a Reverb server they can be sampled once their block is full.

        Args:
            rows: structured array of `packer.dtype`, any length.

        Raises:
            ReplayError: when the server is gone.
        """
        self._require_open()
        self._table.insert(rows, self._priority)

    def flush(self) -> None:
        """Waits until what was inserted can be sampled; of a Reverb server, every full block.

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
        if batch_size > self._table.most:
            raise ArgumentError(
                f"batch_size={batch_size} is more than the replay can ever hold: capacity="
                f"{self.capacity} makes {self._table.most} transitions, so that every batch would "
                "repeat some. Raise capacity, or lower batch_size."
            )
        self._table.waiting.look("an account of the table")
        self._table.waiting.failure = None
        if dataset.is_deterministic() and not self._repeatable:
            raise ReplayError(
                "op determinism was enabled after this replay was opened without a seed. Enable it "
                "before."
            )
        return self._table.dataset(batch_size, self._unpacker())

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
        self._table.waiting.look("a checkpoint")
        with self._table.held():
            state = {**self._table.get_state(batches), **self._own_state()}
            contents.write(directory, self._table, self._settings, state)

    @property
    def size(self) -> int:
        """int, transitions that can be sampled once they are flushed."""
        return 0 if self._table is None else self._table.size

    def close(self) -> None:
        """Lets go of everything; what it holds is gone. Does nothing when it is closed."""
        table, self._table = self._table, None
        if table is not None:
            table.close()

    def _own_settings(self) -> dict[str, Any]:
        """What has to be the same where a checkpoint is read."""
        return {}

    def _unpacker(self) -> Callable[[tf.Tensor], dict[str, Any]]:
        """What makes a batch of sampled rows; nothing in it holds this replay."""
        return self.packer.unpack

    def _own_state(self) -> dict[str, Any]:
        return {}

    def _set_own_state(self, state: dict[str, Any]) -> None: ...

    def _open_again(self, spec: dict[str, Any], seed: int | None) -> None:
        if spec != self._spec:
            raise ReplayError(
                "this replay holds transitions of another shape: it was opened for "
                f"{self._spec} and is now asked for {spec}. Use a replay of its own for each "
                "environment."
            )
        if self._repeatable:
            self._table.reseed(None if seed is None else _stream(seed))
        elif seed is not None:
            raise ReplayError(
                f"this replay was opened without a seed, so that seed={seed} cannot make its "
                "samples repeatable any more. Give it a seed from the first fit on, or use a new "
                "replay."
            )

    def _set_state(self, state: dict[str, Any]) -> None:
        try:
            with contents.damaged_if_wrong():
                self._table.set_state(state)
                self._set_own_state(state)
        except BaseException:
            self.close()
            raise


def _stream(seed: int | None) -> np.random.Generator:
    """Random numbers of the replay's own, apart from those of whatever else has this seed."""
    return np.random.default_rng(None if seed is None else [seed, _STREAM])
