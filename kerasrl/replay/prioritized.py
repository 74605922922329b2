"""Prioritised replay."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import fraction, real
from kerasrl.errors import ArgumentError
from kerasrl.replay import account
from kerasrl.replay.uniform import Uniform

_FIRST = 1.0
_LEAST = 1e-6  # Added to every priority, so that what has none is sampled again some day.


class Prioritized(Uniform):
    """Experience replay that samples by priority.

    Item i is sampled with probability P(i) = p_i ** exponent / sum_k p_k ** exponent, where p_i is
    its priority. New items have the highest priority that there has been, 1.0 to begin with, so
    that each is soon sampled; an agent gives others by `prioritize(batch, priorities)` in its
    `train_step`, and `fit` hands these to `update_priorities` after every execution.

    A batch has, besides what items hold,

    - `key`, int64 `[B]`: which items they are, for `update_priorities`;
    - `weight`, float32 `[B]`: `(N * P(i)) ** -importance_exponent`, N being the number of items,
      divided by the greatest in the batch, to weight losses with, as `agent.mean(batch, x)` does.
      Where items have a `weight` of their own, `[T]` as sequences do, it is the product, `[B, T]`.

    Without a seed, batches are drawn ahead of time: up to a dozen before the priorities of the
    newest. With a seed, or under op determinism, every batch is drawn when it is asked for, from
    the priorities of that time; draws are repeatable, and a run that is resumed from a checkpoint
    goes on bit for bit, at the price, with Reverb, of a round trip to the server for every example.

    Args:
        capacity: int, items held; the oldest are dropped first. Each is stored by itself, which
            takes a Reverb server more time and memory than the blocks of `Uniform`.
        exponent: float in [0, 1], of the priorities; 0 samples uniformly.
        importance_exponent: float in [0, 1], how far `weight` corrects for the sampling; 1 wholly.
        port: see `Uniform`.
        timeout: see `Uniform`.
        store: see `Uniform`.
        directory: see `Uniform`.

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
        store: str = "auto",
        directory: str | os.PathLike[str] | None = None,
    ):
        super().__init__(capacity, port, timeout, store, directory)
        self.exponent = fraction("exponent", exponent)
        self.importance_exponent = fraction("importance_exponent", importance_exponent)

    def open(self, spec: dict[str, Any], seed: int | None = None, checkpoint: Any = None) -> None:
        """Makes ready; see `Uniform.open`."""
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
        self._table.update(updates)

    def _own_settings(self) -> dict[str, Any]:
        return {"exponent": self.exponent}

    def _unpacker(self) -> Callable[[tf.Tensor], dict[str, Any]]:
        return account.unpacker(self.packer, self.importance_exponent)

    def _own_state(self) -> dict[str, Any]:
        return {"priority": self._priority}

    def _set_own_state(self, state: dict[str, Any]) -> None:
        self._priority = real("priority", state["priority"])
