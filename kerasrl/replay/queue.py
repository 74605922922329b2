"""A queue of rollouts over Reverb, each of which is sampled once."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.errors import ReplayError
from kerasrl.native_log import muted
from kerasrl.replay import dataset
from kerasrl.replay.packing import Packer
from kerasrl.replay.server import LoopbackServer

_TABLE = "queue"
_TIMEOUT_MS = 60_000


class Queue:
    """Rollouts, first in, first out, each sampled once, in a Reverb server within this process.

    On-policy agents learn from it. Every `fit` begins with an empty queue: what was collected for
    another run is never trained on.

    Args:
        port: int, port of the server, which is reachable from loopback only; None picks a free one.

    Reference:
        Cassirer et al., "Reverb: a framework for experience replay", 2021.
    """

    def __init__(self, port: int | None = None):
        self._port = port
        self._server: Any = None

    def open(self, spec: dict[str, Any], seed: int | None = None) -> None:
        """Starts a server with an empty queue, in place of one that runs already.

        Args:
            spec: dict of nests of `tf.TensorSpec`: a rollout, all `[T, N, ...]`.
            seed: int, makes the shuffling of minibatches repeatable.

        Raises:
            PortInUse: when the port is taken.
        """
        self.close()
        self._seed = int(np.random.default_rng(seed).integers(2**31))
        self.packer = Packer(spec)
        self._rollout = tf.TensorSpec((1, self.packer.dtype.itemsize), tf.uint8, name="rollout")
        table = reverb.Table.queue(_TABLE, max_size=1, signature=self._rollout)
        self._server = LoopbackServer([table], self._port)
        self._client = reverb.Client(self._server.address)
        self._reader: Any = _Reader(self._client)
        self._writer = self._client.trajectory_writer(num_keep_alive_refs=1)

    def insert(self, rollout: np.ndarray) -> None:
        """Puts a rollout at the end of the queue, and waits until it is there.

        Args:
            rollout: structured array `[1]` of `packer.dtype`.

        Raises:
            ReplayError: when the queue stays full for a minute.
        """
        self._require_open()
        self._writer.append(self.packer.to_bytes(rollout))
        self._writer.create_item(_TABLE, 1.0, self._writer.history[-1])
        try:
            self._writer.flush(timeout_ms=_TIMEOUT_MS)
        except reverb.errors.DeadlineExceededError as error:
            raise ReplayError(
                f"the queue has been full for {_TIMEOUT_MS // 1000} s: a rollout was inserted "
                "while the one before it was not fetched. Insert one when that was learned from."
            ) from error
        self._reader.inserted()

    def dataset(
        self,
        examples: Callable[[dict[str, Any]], dict[str, Any]],
        batch_size: int | None = None,
        epochs: int = 1,
    ) -> tf.data.Dataset:
        """Minibatches of one rollout after another.

        Args:
            examples: callable from a rollout, a dict of nests of `[T, N, ...]` tensors, to a dict
                of nests of `[T, N, ...]` tensors to learn from.
            batch_size: int, examples in a minibatch; None puts all of a rollout into one.
            epochs: int, passes over each rollout, each in another random order.

        Returns:
            `tf.data.Dataset` of dicts of nests of `[B, ...]` tensors. It waits for rollouts, and
            ends with `finish`.
        """
        self._require_open()
        rollouts = dataset.once(self._reader.fetch, self._rollout, self.packer)
        return dataset.minibatches(rollouts.map(examples), batch_size, epochs, self._seed)

    def finish(self) -> None:
        """Ends the datasets: no other rollout will come. Whatever waits for one goes on."""
        if self._server is not None:
            self._reader.finish()

    def info(self, timeout: int = 10) -> Any:
        """Reverb's own account of the table, a `reverb.TableInfo`; its sizes count rollouts.

        Args:
            timeout: int, seconds to wait for the server.
        """
        self._require_open()
        return self._client.server_info(timeout)[_TABLE]

    def close(self) -> None:
        """Stops the server. Does nothing when it is closed."""
        if self._server is None:
            return
        self._reader.finish()
        try:
            self._writer.close()
        finally:
            self._writer = self._client = self._reader = None
            server, self._server = self._server, None
            server.stop()

    def __enter__(self) -> "Queue":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._server is None:
            raise ReplayError("this replay is not open; fit() opens it, or call open(spec).")


class _Reader:
    """Fetches rollouts once they are there.

    A sampler of Reverb that waits for an item cannot be told to end, which would hold up the end of
    a run, for ever under `MirroredStrategy`. So the waiting is done here.
    """

    def __init__(self, client: reverb.Client):
        # TensorFlow never lets go of a dataset's Python function, and so of the reader.
        self._client: Any = client
        self._changed = threading.Condition()
        self._waiting = 0

    def inserted(self) -> None:
        """Says that another rollout is there."""
        with self._changed:
            self._waiting += 1
            self._changed.notify()

    def finish(self) -> None:
        """Ends the waiting for rollouts, now and from now on."""
        with self._changed:
            self._client = None
            self._changed.notify_all()

    def fetch(self) -> np.ndarray | None:
        """Waits for a rollout and takes it from the queue; None when there will be no other."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._client is None)
            if self._client is None:
                return None
            self._waiting -= 1
            with muted():
                sample = next(self._client.sample(_TABLE, num_samples=1, emit_timesteps=False))
            return sample.data[0]
