"""Random numbers within a gradient step."""

from typing import Any

import numpy as np
import tensorflow as tf


def stateless_normal(shape: Any, seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Draws standard normal noise, as a function of its arguments alone.

    It is the same eagerly, in a graph and under XLA. Each replica has its own part of one global
    draw.

    Args:
        shape: int tensor or sequence, beginning with this replica's batch size.
        seed: int64 scalar.
        step: int64 scalar.

    Returns:
        float32 tensor of `shape`.
    """
    shape = tf.convert_to_tensor(shape)
    context = tf.distribute.get_replica_context()
    everywhere = tf.concat([shape[:1] * context.num_replicas_in_sync, shape[1:]], axis=0)
    # Whole words are the same with and without XLA; floats between bounds are not.
    words = tf.random.stateless_uniform(
        everywhere, tf.stack([seed, step]), None, None, tf.uint32, alg="philox"
    )
    first = context.replica_id_in_sync_group * shape[0]
    steps = tf.cast(tf.bitwise.right_shift(words[first : first + shape[0]], 9), tf.float32)
    uniform = (steps + 0.5) * 2.0**-22 - 1.0  # In (-1, 1), exactly.
    return np.sqrt(np.float32(2)) * tf.math.erfinv(uniform)
