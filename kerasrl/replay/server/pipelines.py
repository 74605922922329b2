"""The `tf.data` pipelines out of a Reverb table, of blocks or of single items.

A block holds K transitions and is one item. B blocks are drawn with replacement, the K rows of each
are shuffled independently, and batch j takes the j-th row of every block: each batch is a uniform
draw of B stored transitions with replacement, and only K successive batches share their blocks.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.replay.dataset import pipeline_options
from kerasrl.replay.server.alarm import Alarm

_IN_FLIGHT = 64
_PREFETCHED = 4
_TOGETHER = 8  # Batches that are handed from one thread to another at most.


def free_running(
    address: str,
    table: str,
    block: tf.TensorSpec,
    unpack: Callable[[tf.Tensor], dict[str, Any]],
    batch_size: int,
    alarm: Alarm,
) -> tf.data.Dataset:
    """Batches sampled by Reverb in the background, as fast as they can be had.

    Args:
        address: str, the server's address.
        table: str, the table's name.
        block: `tf.TensorSpec` of a block, uint8 `[K, row bytes]`.
        unpack: callable from uint8 `[B, row bytes]` to a batch.
        batch_size: int, B.
        alarm: `Alarm` that ends the dataset when the server is gone.

    Returns:
        Endless `tf.data.Dataset` of what `unpack` gives.
    """

    rows, width = block.shape
    together = max(n for n in range(1, _TOGETHER + 1) if rows % n == 0)

    def sampled() -> tf.data.Dataset:
        blocks = reverb.TrajectoryDataset(
            address,
            table,
            dtypes=block.dtype,
            shapes=block.shape,
            max_in_flight_samples_per_worker=_IN_FLIGHT,
            num_workers_per_iterator=1,
        )
        draws = blocks.map(lambda sample: sample.data).batch(batch_size, drop_remainder=True)
        stacks = (-1, together, batch_size, width)
        return draws.map(lambda draw: tf.reshape(_shuffle_rows(draw), stacks)).unbatch()

    batches = alarm.guard(sampled, tf.TensorSpec((None, batch_size, width), tf.uint8)).unbatch()
    options = pipeline_options()
    # Fused, every single block is handed to another thread, at twice the cost in all.
    options.experimental_optimization.map_and_batch_fusion = False
    return batches.map(unpack).prefetch(_PREFETCHED).with_options(options)


def free_running_items(
    address: str,
    table: str,
    item: tf.TensorSpec,
    describe: Callable[[Any], tf.Tensor],
    width: int,
    unpack: Callable[[tf.Tensor], dict[str, Any]],
    batch_size: int,
    alarm: Alarm,
) -> tf.data.Dataset:
    """Batches of items that are sampled one by one, with Reverb's account of each.

    Args:
        address: str, the server's address.
        table: str, the table's name.
        item: `tf.TensorSpec` of an item, uint8 `[1, row bytes]`.
        describe: callable from a `reverb.SampleInfo` to uint8 `[k]`, put behind the row.
        width: int, row bytes + k.
        unpack: callable from uint8 `[B, width]` to a batch.
        batch_size: int, B.
        alarm: `Alarm` that ends the dataset when the server is gone.

    Returns:
        Endless `tf.data.Dataset` of what `unpack` gives.
    """

    def row(sample: Any) -> tf.Tensor:
        return tf.concat([sample.data[0], describe(sample.info)], axis=-1)

    def sampled() -> tf.data.Dataset:
        items = reverb.TrajectoryDataset(
            address,
            table,
            dtypes=item.dtype,
            shapes=item.shape,
            max_in_flight_samples_per_worker=_IN_FLIGHT,
            num_workers_per_iterator=1,
        )
        return items.map(row).batch(batch_size, drop_remainder=True).batch(1)

    batches = alarm.guard(sampled, tf.TensorSpec((None, batch_size, width), tf.uint8)).unbatch()
    options = pipeline_options()
    options.experimental_optimization.map_and_batch_fusion = False  # See `free_running`.
    return batches.map(unpack).prefetch(_PREFETCHED).with_options(options)


def _shuffle_rows(blocks: tf.Tensor) -> tf.Tensor:
    """Turns blocks `[B, K, D]` into K batches `[K, B, D]`, shuffling the rows of each block."""
    batch_size, rows, width = blocks.shape
    # Its own seed, as TensorFlow warns of one that the user has set for all.
    seed = int(np.random.default_rng().integers(2**31))
    order = tf.argsort(tf.random.uniform((batch_size, rows), seed=seed))  # [B, K]
    index = tf.transpose(order + rows * tf.range(batch_size)[:, tf.newaxis])  # [K, B]
    return tf.gather(tf.reshape(blocks, (batch_size * rows, width)), index)
