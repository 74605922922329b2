"""A queue of rollouts, each of which is sampled once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import seed_of, whole
from kerasrl.errors import ArgumentError
from kerasrl.experience.packing import Packer
from kerasrl.replay import contents, dataset, stores
from kerasrl.replay.rollout_reader import RolloutReader
from kerasrl.replay.stored import StoredReplay


class Queue(StoredReplay):
    """Rollouts, first in, first out, each sampled once.

    On-policy agents learn from it. Every `fit` begins with an empty queue, or with that of a
    checkpoint: what was collected for another run is never trained on.

    Args:
        port: int, port of a Reverb server, which is reachable from loopback only; None picks a free
            one.
        timeout: float, seconds that a call may wait for a server, or a dataset for a rollout,
            before that is an error.
        store: str, where rollouts wait: `"reverb"`, in a server within this process; `"local"`, in
            its memory; `"auto"`, in a server where Reverb is installed.

    Attributes:
        expected: bool, whether the next rollout is to be there within the timeout. Whoever collects
            may set it to False while it is at other work, as a dataset may ask for a rollout long
            before it is needed.

    Raises:
        ArgumentError: when `timeout` is not positive, or there is no such store.

    Reference:
        Cassirer et al., "Reverb: a framework for experience replay", 2021.
    """

    consumed = True

    def __init__(self, port: int | None = None, timeout: float = 60.0, store: str = "auto"):
        super().__init__(stores.chosen(store, port), timeout)
        self.expected = True

    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Begins with an empty queue, in place of one that is open already.

        Args:
            spec: dict of nests of `tf.TensorSpec`: a rollout, all `[T, N, ...]`.
            seed: int, makes the shuffling of minibatches repeatable.
            checkpoint: path of a directory that `save` wrote, to go on from there. The shuffling
                then goes on as it was, whatever the seed is.

        Raises:
            LoadError: when the checkpoint is damaged.
            MismatchError: when the checkpoint is of other rollouts; nothing is changed then.
            PortInUse: when the port is taken.
        """
        packer, seed = Packer(spec), seed_of(seed)
        settings = {"replay": type(self).__name__, "rollout": contents.layout(packer)}
        if self.store != "reverb":
            settings["store"] = self.store
        table, state = (None, None) if checkpoint is None else contents.read(checkpoint, settings)
        self.close()
        self._packer, self._settings = packer, settings
        self._rows = int(np.prod(tf.nest.flatten(spec)[0].shape[:2]))
        self._rollout = tf.TensorSpec((1, packer.dtype.itemsize), tf.uint8, name="rollout")
        self._seed = int(np.random.default_rng(seed).integers(2**31))
        self._checkpoint: Any = checkpoint
        self._passes = self._used = 0  # Over all rollouts before the first, and in the first.
        self._pace: Any = None
        self.expected = True
        self._table = self._store.queue(packer, self._timeout, table)
        self._reader: Any = RolloutReader(self._table, lambda: self.expected)
        if state is not None:
            self._set_state(state)

    def insert(self, rollout: np.ndarray) -> None:
        """Puts a rollout at the end of the queue, and waits until it is there.

        Args:
            rollout: structured array `[1]` of `packer.dtype`.

        Raises:
            ReplayError: when the queue stays full, or the server is gone.
        """
        self._require_open()
        self._table.insert(self.packer.to_bytes(rollout))
        self._table.flush(
            advice="A rollout was inserted while the one before it was not fetched. Insert one "
            "when that was learned from."
        )
        self._reader.inserted()

    def dataset(  # type: ignore[override]
        self,
        examples: Callable[[dict[str, Any]], dict[str, Any]],
        batch_size: int | None = None,
        epochs: int = 1,
    ) -> tf.data.Dataset:
        """Minibatches of one rollout after another.

        After `open` with a checkpoint it goes on with the minibatch that would have come next.

        Args:
            examples: callable from a rollout, a dict of nests of `[T, N, ...]` tensors, to a dict
                of nests of `[T, N, ...]` tensors to learn from.
            batch_size: int, examples in a minibatch; None puts all of a rollout into one.
            epochs: int, passes over each rollout, each in another random order.

        Returns:
            `tf.data.Dataset` of dicts of nests of `[B, ...]` tensors. It waits for rollouts, and
            ends with `finish`. When the server is gone, or none comes in time, it ends with an
            error of TensorFlow's; `failure()` tells the replay's own.

        Raises:
            ArgumentError: when `batch_size` does not divide a rollout.
            MismatchError: when a rollout was broken off in a run with another `batch_size` or other
                `epochs`.
        """
        self._require_open()
        batch_size = whole("batch_size", batch_size, optional=True)
        epochs = whole("epochs", epochs)
        if batch_size is not None and self._rows % batch_size:
            raise ArgumentError(
                f"batch_size must divide the {self._rows} examples of a rollout; received "
                f"{batch_size}."
            )
        pace = {"batch_size": batch_size, "epochs": epochs}
        if self._used:
            contents.check_same(self._checkpoint, pace, self._pace)
        self._pace = pace
        self._table.waiting.failure = None
        rollouts = dataset.once(self._reader, self._rollout, self.packer).map(examples)
        return dataset.minibatches(
            rollouts, batch_size, epochs, self._seed, self._passes, self._used
        )

    def save(self, directory: Path, batches: int) -> None:
        """Writes all that it takes to go on with `open(spec, seed, checkpoint=directory)`.

        Args:
            directory: path of an existing, empty directory.
            batches: int, minibatches of the dataset that have been trained on.

        Raises:
            ArgumentError: when so many minibatches cannot have been trained on.
            ReplayError: when the server is gone.
            SaveError: when something cannot be written; the queue goes on.
        """
        self._require_open()
        self._table.waiting.look("a checkpoint")
        rollouts, used, passes = 0, self._used + batches, self._passes
        if self._pace is not None:
            epochs, batch_size = self._pace["epochs"], self._pace["batch_size"]
            rollouts, used = divmod(used, epochs * self._rows // (batch_size or self._rows))
            passes += rollouts * epochs
        with self._reader.held():
            state = {
                "seed": self._seed,
                "pace": self._pace,
                "passes": passes,
                "used": used,
                "rollouts": self._reader.fetched_since(rollouts),
                "waiting": self._reader.waiting,
            }
            contents.write(directory, self._table, self._settings, state)

    def finish(self) -> None:
        """Ends the datasets: no other rollout will come. Whatever waits for one goes on."""
        if self._table is not None:
            self._reader.finish()

    @property
    def size(self) -> int:
        """int, rollouts that wait to be fetched."""
        return 0 if self._table is None else self.info().current_size

    def close(self) -> None:
        """Lets go of everything. Does nothing when it is closed."""
        if self._table is None:
            return
        table, self._table = self._table, None
        self._reader.finish()
        self._reader = None
        table.close()

    def _set_state(self, state: dict[str, Any]) -> None:
        try:
            with contents.damaged_if_wrong():
                self._seed, self._pace = state["seed"], state["pace"]
                self._passes, self._used = state["passes"], state["used"]
                self._reader.set_state(state["rollouts"], state["waiting"])
        except BaseException:
            self.close()
            raise
