"""What is put behind a row that was sampled by priority, and what batches make of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.experience.packing import Packer

#: Bytes behind a row: its key, and its probability times the number of items.
ACCOUNT = 16


def with_account(rows: np.ndarray, keys: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Rows with what is to be known of each.

    Args:
        rows: uint8 `[B, D]`.
        keys: int64 or uint64 `[B]`.
        relative: float64 `[B]`, the probability of each times the number of items.

    Returns:
        uint8 `[B, D + 16]`.
    """
    columns = (rows, keys[:, np.newaxis].view(np.uint8), relative[:, np.newaxis].view(np.uint8))
    return np.concatenate(columns, axis=-1)


def unpacker(packer: Packer, exponent: float) -> Callable[[tf.Tensor], dict[str, Any]]:
    """What makes a batch with `key` and `weight` of rows uint8 `[B, D + 16]`.

    Args:
        packer: the `Packer` of the rows.
        exponent: float, of the importance weights.
    """
    width = packer.dtype.itemsize

    def unpack(rows: tf.Tensor) -> dict[str, Any]:
        batch = packer.unpack(rows[:, :width])
        key = tf.bitcast(rows[:, width : width + 8], tf.int64)
        weight = tf.bitcast(rows[:, width + 8 :], tf.float64) ** -exponent
        weight = tf.cast(weight / tf.reduce_max(weight), tf.float32)
        return {**batch, "key": key, "weight": _weighted(batch, weight)}

    return unpack


def _weighted(batch: dict[str, Any], weight: tf.Tensor) -> tf.Tensor:
    """Weights `[B]`; or those of steps, `[B, T]`, where items have them."""
    return batch["weight"] * weight[:, tf.newaxis] if "weight" in batch else weight
