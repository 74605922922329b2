"""A target network: a copy of a network that follows it slowly."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.networks.cloning import clone


@keras.saving.register_keras_serializable("kerasrl")
class Target(keras.layers.Layer):
    """A copy of a network that moves towards it every so often.

    Every `period` gradient steps, `target = step_size * source + (1 - step_size) * target`. Both
    numbers are weights, set by the `TargetUpdate` callback, so that changing them retraces nothing.

    Args:
        source: built Keras model; it is cloned, and the clone starts with its weights.

    Raises:
        NetworkError: when `source` cannot be cloned.

    Reference:
        Mnih et al., "Human-level control through deep reinforcement learning", 2015 (period);
        Lillicrap et al., "Continuous control with deep reinforcement learning", 2016 (step size).
    """

    def __init__(self, source: keras.Model, **kwargs: Any):
        super().__init__(trainable=False, **kwargs)
        self.period = self.add_weight("period", (), tf.int64, _constant(1), trainable=False)
        self.step_size = self.add_weight("step_size", (), None, _constant(1.0), trainable=False)
        self.network = clone(source)
        self.network.trainable = False

    def call(self, inputs: Any) -> Any:
        """The copy's output for `inputs`."""
        return self.network(inputs, training=False)

    def update(self, source: keras.Model, step: tf.Tensor) -> None:
        """Moves towards `source` if `step` is a multiple of the period.

        Args:
            source: the network that was copied.
            step: int64 scalar, gradient steps done.
        """
        due = tf.equal(step % self.period, 0)
        fraction = tf.where(due, self.step_size, 0.0)

        def merge(strategy: tf.distribute.Strategy, fraction: tf.Tensor) -> None:
            for target, variable in zip(self.network.weights, source.weights, strict=True):
                strategy.extended.update(target, _move, args=(variable, fraction))

        tf.distribute.get_replica_context().merge_call(merge, args=(fraction,))


def _move(target: tf.Variable, source: tf.Variable, fraction: tf.Tensor) -> None:
    if target.dtype.is_floating:
        fraction = tf.cast(fraction, target.dtype)
        target.assign(fraction * source + (1.0 - fraction) * target)  # Exact at 0 and 1.
    else:
        target.assign(tf.where(fraction > 0, source, target))


def _constant(value: float) -> keras.initializers.Initializer:
    return keras.initializers.Constant(value)
