"""The `tf.data` pipelines: batches of transitions out of a table of blocks, and of rollouts.

A block holds K transitions and is one item. B blocks are drawn with replacement, the K rows of each
are shuffled independently, and batch j takes the j-th row of every block: each batch is a uniform
draw of B stored transitions with replacement, and only K successive batches share their blocks.
"""

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import reverb
import tensorflow as tf

from kerasrl.experience.packing import Packer
from kerasrl.replay.rollout_reader import RolloutReader
from kerasrl.replay.seeded import SeededSampler
from kerasrl.replay.server.alarm import Alarm
from kerasrl.replay.server.weakly import weakly

_IN_FLIGHT = 64
_PREFETCHED = 4
_TOGETHER = 8  # Batches that are handed from one thread to another at most.


def free_running(
    address: str,
    table: str,
    block: tf.TensorSpec,
    packer: Packer,
    batch_size: int,
    alarm: Alarm,
) -> tf.data.Dataset:
    """Batches sampled by Reverb in the background, as fast as they can be had.

    Args:
        address: str, the server's address.
        table: str, the table's name.
        block: `tf.TensorSpec` of a block, uint8 `[K, row bytes]`.
        packer: the `Packer` of the rows.
        batch_size: int, B.
        alarm: `Alarm` that ends the dataset when the server is gone.

    Returns:
        Endless `tf.data.Dataset` of dicts of nests of `[B, ...]` tensors.
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
    return batches.map(packer.unpack).prefetch(_PREFETCHED).with_options(options)


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


def is_deterministic() -> bool:
    """Whether `tf.config.experimental.enable_op_determinism` was called."""
    try:
        tf.random.Generator.from_non_deterministic_state()
    except RuntimeError:  # TensorFlow tells in no other way.
        return True
    return False


def repeatable(
    sampler: SeededSampler,
    width: int,
    unpack: Callable[[tf.Tensor], dict[str, Any]],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches drawn on demand by a seeded sampler.

    Args:
        sampler: `SeededSampler`.
        width: int, bytes of a row that it draws.
        unpack: callable from uint8 `[B, width]` to a batch.
        batch_size: int, B.
    """
    signature = tf.TensorSpec((None, batch_size, width), tf.uint8)
    draws = functools.partial(weakly(sampler.draws), batch_size)
    batches = tf.data.Dataset.from_generator(draws, output_signature=signature)
    return batches.unbatch().map(unpack).with_options(pipeline_options())


def once(reader: RolloutReader, rollout: tf.TensorSpec, packer: Packer) -> tf.data.Dataset:
    """Rollouts in the order in which they are fetched; none is fetched before it is due.

    Args:
        reader: `RolloutReader` that they come from.
        rollout: `tf.TensorSpec` of a packed rollout, uint8 `[1, bytes]`.
        packer: the `Packer` of the rollout.

    Returns:
        `tf.data.Dataset` of dicts of nests of `[T, N, ...]` tensors.
    """

    reference = weakref.WeakMethod(reader.rollouts)  # See `weakly`; this one ends quietly.

    def draw() -> Iterator[np.ndarray]:
        rollouts = reference()
        return iter(()) if rollouts is None else rollouts()

    def unpack(packed: tf.Tensor) -> dict[str, Any]:
        return tf.nest.map_structure(lambda leaf: leaf[0], packer.unpack(packed))

    return tf.data.Dataset.from_generator(draw, output_signature=rollout).map(unpack)


def minibatches(
    rollouts: tf.data.Dataset,
    batch_size: int | None,
    epochs: int,
    seed: int,
    passes: int = 0,
    used: int = 0,
) -> tf.data.Dataset:
    """Shuffled minibatches of each rollout, several times over.

    Args:
        rollouts: `tf.data.Dataset` of nests of `[T, N, ...]` tensors.
        batch_size: int, B, which divides `T * N`; None puts all of a rollout into one, in order.
        epochs: int, passes over each rollout, each in another random order.
        seed: int, of the random orders.
        passes: int, passes over the rollouts before these.
        used: int, minibatches of the first rollout to leave out.

    Returns:
        `tf.data.Dataset` of nests of `[B, ...]` tensors.
    """

    def flatten(rollout: Any) -> Any:
        return tf.nest.map_structure(
            lambda leaf: tf.reshape(leaf, (leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])), rollout
        )

    def one_epoch(index: tf.Tensor, rollout: Any) -> Any:
        rows = tf.nest.flatten(rollout)[0].shape[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(rows), (seed, index))
        order = tf.reshape(order, (rows // batch_size, batch_size))
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, order), rollout)

    def repeat(rollout: Any) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(rollout).repeat(epochs)

    batches = rollouts.map(flatten).flat_map(repeat)
    if batch_size is not None:
        batches = batches.enumerate(passes).map(one_epoch).unbatch()
    return batches.skip(used).with_options(pipeline_options())


def _shuffle_rows(blocks: tf.Tensor) -> tf.Tensor:
    """Turns blocks `[B, K, D]` into K batches `[K, B, D]`, shuffling the rows of each block."""
    batch_size, rows, width = blocks.shape
    # Its own seed, as TensorFlow warns of one that the user has set for all.
    seed = int(np.random.default_rng().integers(2**31))
    order = tf.argsort(tf.random.uniform((batch_size, rows), seed=seed))  # [B, K]
    index = tf.transpose(order + rows * tf.range(batch_size)[:, tf.newaxis])  # [K, B]
    return tf.gather(tf.reshape(blocks, (batch_size * rows, width)), index)


def pipeline_options() -> tf.data.Options:
    """The options of every dataset that is trained on."""
    options = tf.data.Options()
    # The autotune thread of TensorFlow 2.15 holds up the end of an iterator by up to a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
