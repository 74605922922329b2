"""A target network: a copy of a network that follows it slowly."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import raw
from kerasrl.networks.cloning import paired, paired_clone


@keras.saving.register_keras_serializable("kerasrl")
class Target(keras.layers.Layer):
    """A copy of a network that moves towards it every so often.

    Every `period` gradient steps, `target += step_size * (source - target)`. Both numbers are
    weights, set by the `TargetUpdate` callback, so that changing them retraces nothing. Running
    statistics, such as those of normalisers, are no weights to move towards: the copy has the
    source's own after every gradient step.

    Args:
        source: built Keras model; it is cloned, and the clone starts with its weights.

    Raises:
        NetworkError: when `source` cannot be cloned.

    Reference:
        Mnih et al., "Human-level control through deep reinforcement learning", 2015 (period);
        Lillicrap et al., "Continuous control with deep reinforcement learning", 2016 (step size).
    """

    def __init__(self, source: keras.Model, **kwargs: Any):
        # Observations reach the copy as they are, whatever it computes in.
        super().__init__(trainable=False, dtype="float32", autocast=False, **kwargs)
        self.period = self._number("period", 1, "int64")
        self.step_size = self._number("step_size", 1.0, "float32")
        self.network, self._pairing = paired_clone(source)
        self.network.trainable = False
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The copy's output for `inputs`, floats as float32."""
        return tf.nest.map_structure(_float32, self.network(inputs, training=False))

    def update(self, source: keras.Model, step: tf.Tensor) -> None:
        """Moves towards `source` if `step` is a multiple of the period, and has its statistics.

        Args:
            source: the network that was copied.
            step: int64 scalar, gradient steps done.
        """
        if source is not self._pairing.source:
            self._pairing = paired(source, self.network)
        due = tf.equal(step % self.period, 0)
        fraction = tf.where(due, self.step_size, 0.0)
        whole = tf.ones_like(fraction)

        def merge(strategy: tf.distribute.Strategy, fraction: tf.Tensor, whole: tf.Tensor) -> None:
            for pairs, share in (
                (self._pairing.learned, fraction),
                (self._pairing.statistics, whole),
            ):
                for target, variable in pairs:
                    strategy.extended.update(raw(target), _move, args=(raw(variable), share))

        tf.distribute.get_replica_context().merge_call(merge, args=(fraction, whole))

    def take_statistics(self) -> None:
        """Takes over the running statistics of the network that was copied, between updates."""
        for target, variable in self._pairing.statistics:
            target.assign(variable)
        if tf.executing_eagerly():  # It makes tensors, which those of a graph must not be.
            self._pairing.finalize()

    def _number(self, name: str, value: float, dtype: str) -> tf.Variable:
        initializer = keras.initializers.Constant(value)
        return self.add_weight(
            name=name, shape=(), dtype=dtype, initializer=initializer, trainable=False
        )


def _move(target: tf.Variable, source: tf.Variable, fraction: tf.Tensor) -> None:
    moved = source
    if target.dtype.is_floating:
        moved = target + tf.cast(fraction, target.dtype) * (source - target)
        moved = tf.where(fraction < 1, moved, source)  # An exact copy, whatever the target was.
    target.assign(tf.where(fraction > 0, moved, target))


def _float32(output: tf.Tensor) -> tf.Tensor:
    return tf.cast(output, tf.float32) if output.dtype.is_floating else output
