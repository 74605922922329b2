"""What the distributions over actions share."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.errors import ArgumentError

tfd: Any = tfp.distributions


class ActionDistribution(tfp.distributions.Distribution):
    """The actions of a space as events: their shape, dtype and numbers.

    Attributes:
        space: the space of the actions.
    """

    def __init__(self, space: Any, reparameterized: bool, parameters: dict[str, Any], name: str):
        self.space = space
        kind = tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED
        super().__init__(
            dtype=tf.as_dtype(space.dtype),
            reparameterization_type=kind,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape(self.space.shape)

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self.space.shape, tf.int32)

    def _numbers(self, action: tf.Tensor) -> tf.Tensor:
        """Flattens actions `[..., *shape of the space]` to `[..., A]`."""
        rank = len(self.space.shape)
        if rank == 1:
            return action
        leading = tf.shape(action)[: tf.rank(action) - rank]
        return tf.reshape(action, tf.concat([leading, [math.prod(self.space.shape)]], axis=0))

    def _shaped(self, numbers: tf.Tensor) -> tf.Tensor:
        """Makes actions of the space's shape and dtype of numbers `[..., A]`."""
        numbers = tf.cast(numbers, self.dtype)
        if len(self.space.shape) == 1:
            return numbers
        shape = tf.concat([tf.shape(numbers)[:-1], np.array(self.space.shape, np.int32)], axis=0)
        return tf.reshape(numbers, shape)


def check_spaces(one: ActionDistribution, other: ActionDistribution) -> None:
    """Refuses to compare distributions over different actions."""
    if one.space != other.space:
        raise ArgumentError(
            "kl_divergence needs two distributions over the same action space; received "
            f"{one.space} and {other.space}."
        )
