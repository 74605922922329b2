"""The `tf.data` pipelines: batches that are drawn on demand, and minibatches of rollouts."""

import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.experience.packing import Packer
from kerasrl.replay.rollout_reader import RolloutReader
from kerasrl.replay.sampler import Sampler
from kerasrl.replay.weakly import weakly


def is_deterministic() -> bool:
    """Whether `tf.config.experimental.enable_op_determinism` was called."""
    try:
        tf.random.Generator.from_non_deterministic_state()
    except RuntimeError:  # TensorFlow tells in no other way.
        return True
    return False


def on_demand(
    sampler: Sampler,
    width: int,
    unpack: Callable[[tf.Tensor], dict[str, Any]],
    batch_size: int,
) -> tf.data.Dataset:
    """Batches drawn by a sampler when they are asked for.

    Args:
        sampler: `Sampler`.
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


def pipeline_options() -> tf.data.Options:
    """The options of every dataset that is trained on."""
    options = tf.data.Options()
    # The autotune thread of TensorFlow 2.15 holds up the end of an iterator by up to a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
