"""Prioritised replay over Reverb."""

from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.arguments import fraction, real
from kerasrl.errors import ArgumentError
from kerasrl.experience.packing import Packer
from kerasrl.replay import dataset
from kerasrl.replay.seeded import SeededSampler
from kerasrl.replay.seeded_priorities import SeededPrioritySampler
from kerasrl.replay.uniform import Uniform

_FIRST = 1.0
_LEAST = 1e-6  # Added to every priority, so that what has none is sampled again some day.
_ACCOUNT = 16  # Bytes behind a row: its key, and its probability times the number of items.


class Prioritized(Uniform):
    """Experience replay that samples by priority, in a Reverb server within this process.

    Item i is sampled with probability P(i) = p_i ** exponent / sum_k p_k ** exponent, where p_i is
    its priority. New items have the highest priority that there has been, 1.0 to begin with, so
    that each is soon sampled; an agent gives others by `prioritize(batch, priorities)` in its
    `train_step`, and `fit` hands these to `update_priorities` after every execution.

    A batch has, besides what items hold,

    - `key`, int64 `[B]`: which items they are, for `update_priorities`;
    - `weight`, float32 `[B]`: `(N * P(i)) ** -importance_exponent`, N being the number of items,
      divided by the greatest in the batch, to weight losses with, as `agent.mean(batch, x)` does.
      Where items have a `weight` of their own, `[T]` as sequences do, it is the product, `[B, T]`.

    Without a seed, Reverb samples ahead of time: up to a dozen batches were drawn before the
    priorities of the newest. With a seed, or under op determinism, every batch is drawn when it is
    asked for, from the priorities of that time; draws are repeatable, and a run that is resumed
    from a checkpoint goes on bit for bit, at the price of a round trip to the server for every
    example.

    Args:
        capacity: int, items held; the oldest are dropped first. Each is stored by itself, which
            takes more time and memory than the blocks of `Uniform`.
        exponent: float in [0, 1], of the priorities; 0 samples uniformly.
        importance_exponent: float in [0, 1], how far `weight` corrects for the sampling; 1 wholly.
        port: int, port of the server, which is reachable from loopback only; None picks a free one.
        timeout: float, seconds that a call may wait for the server, or a dataset for something to
            sample, before that is an error.

    Raises:
        ArgumentError: when an argument is out of its range.

    Reference:
        Schaul et al., "Prioritized experience replay", 2016, sections 3.3 and 3.4. There the
        importance exponent rises to 1 while training, and the greatest weight is that of the batch,
        too.
    """

    priorities = True

    def __init__(
        self,
        capacity: int = 1_000_000,
        exponent: float = 0.6,
        importance_exponent: float = 0.4,
        port: int | None = None,
        timeout: float = 60.0,
    ):
        super().__init__(capacity, port, timeout)
        self.exponent = fraction("exponent", exponent)
        self.importance_exponent = fraction("importance_exponent", importance_exponent)

    def open(self, spec: dict[str, Any], seed: int | None = None, checkpoint: Any = None) -> None:
        """Starts the server; see `Uniform.open`."""
        if self._table is None or checkpoint is not None:
            self._priority = _FIRST
        super().open(spec, seed, checkpoint)

    def update_priorities(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Sets the priorities of items; those that have been dropped meanwhile do not count.

        Args:
            keys: int64 or uint64 `[M]`, from the `key` of batches; of one that is there twice, the
                last priority counts.
            priorities: float `[M]`, not negative; 1e-6 is added to each, so that none is 0.

        Raises:
            ArgumentError: when a priority is negative, NaN or infinite, or there are more or fewer
                of them than keys; nothing is changed then.
            ReplayError: when the server is gone.
        """
        self._require_open()
        keys = np.asarray(keys).astype(np.uint64).ravel()
        values = np.asarray(priorities, np.float64).ravel()
        if keys.shape != values.shape:
            raise ArgumentError(
                f"there must be a priority for every key; received {len(keys)} keys and "
                f"{len(values)} priorities."
            )
        if not (np.isfinite(values) & (values >= 0)).all():
            wrong = values[~(np.isfinite(values) & (values >= 0))][0]
            raise ArgumentError(
                f"priorities must be finite and not negative; received {wrong}. Pass the absolute "
                "values of errors, and see why they are not finite if they are not."
            )
        if not len(keys):
            return
        updates = dict(zip(keys.tolist(), (values + _LEAST).tolist(), strict=True))
        self._priority = max(self._priority, max(updates.values()))
        if self._sampler is not None:
            self._sampler.update(updates)
            return
        with self._table.watchdog.guarding("priorities to be updated"):
            self._table.client.mutate_priorities(self._table.server.table, updates)

    def _own_settings(self) -> dict[str, Any]:
        return {"exponent": self.exponent}

    def _choose_rows(self, packer: Packer) -> int:
        return 1  # A priority is one item's.

    def _selector(self) -> Any:
        return reverb.selectors.Prioritized(self.exponent)

    def _make_sampler(self, rng: np.random.Generator) -> SeededSampler:
        return SeededPrioritySampler(self._table, self._max_blocks, rng, self.exponent)

    def _insert_for_sampler(self, block: np.ndarray) -> None:
        self._sampler.insert(lambda order: self._table.insert(block, order), self._priority)

    def _repeatable(self, batch_size: int) -> tf.data.Dataset:
        width = self.packer.dtype.itemsize + _ACCOUNT
        return dataset.repeatable(self._sampler, width, self._unpacker(), batch_size)

    def _free_running(self, batch_size: int) -> tf.data.Dataset:
        server = self._table.server
        return dataset.free_running_items(
            server.address,
            server.table,
            self._block,
            _describe,
            self.packer.dtype.itemsize + _ACCOUNT,
            self._unpacker(),
            batch_size,
            self._alarm,
        )

    def _unpacker(self) -> Any:
        """What makes a batch of rows `[B, row bytes + 16]`; nothing in it holds this replay."""
        packer, exponent = self.packer, self.importance_exponent
        width = packer.dtype.itemsize

        def unpack(rows: tf.Tensor) -> dict[str, Any]:
            batch = packer.unpack(rows[:, :width])
            key = tf.bitcast(rows[:, width : width + 8], tf.int64)
            weight = tf.bitcast(rows[:, width + 8 :], tf.float64) ** -exponent
            weight = tf.cast(weight / tf.reduce_max(weight), tf.float32)
            return {**batch, "key": key, "weight": _weighted(batch, weight)}

        return unpack

    def _own_state(self) -> dict[str, Any]:
        return {"priority": self._priority}

    def _set_own_state(self, state: dict[str, Any]) -> None:
        self._priority = real("priority", state["priority"])


def _describe(info: Any) -> tf.Tensor:
    """The key of a sample, and its probability times the number of items, as uint8 `[16]`."""
    relative = info.probability * tf.cast(info.table_size, tf.float64)
    return tf.concat([tf.bitcast(info.key, tf.uint8), tf.bitcast(relative, tf.uint8)], axis=0)


def _weighted(batch: dict[str, Any], weight: tf.Tensor) -> tf.Tensor:
    """Weights `[B]`; or those of steps, `[B, T]`, where items have them."""
    return batch["weight"] * weight[:, tf.newaxis] if "weight" in batch else weight
