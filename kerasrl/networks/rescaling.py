"""From what a network computes to what lies within bounds, such as those of an action space."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError, SpaceError


class _ToSpec(keras.layers.Layer):
    """It computes in the dtype of variables: bounds may be more than a float16 can be."""

    def __init__(self, minimum: Any, maximum: Any = None, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        if isinstance(minimum, gym.Space) and maximum is None:
            minimum, maximum = self._of_space(minimum)
        if maximum is None:
            raise ArgumentError(
                f"{type(self).__name__} needs a minimum and a maximum, or a Box with finite bounds "
                f"that has them; received {minimum!r} alone."
            )
        self.minimum = np.asarray(minimum, np.float64)
        self.maximum = np.asarray(maximum, np.float64)
        if not (
            self.minimum.shape == self.maximum.shape
            and np.isfinite([self.minimum, self.maximum]).all()
            and (self.minimum <= self.maximum).all()
        ):
            raise ArgumentError(
                f"{type(self).__name__} needs finite bounds of one shape, minimum <= maximum; "
                f"received minimum={minimum} and maximum={maximum}."
            )

    @classmethod
    def from_space(cls, space: gym.Space, **kwargs: Any) -> Any:
        """Makes the layer for a `gymnasium.spaces.Box` with finite bounds.

        Args:
            space: the Box.
            **kwargs: the arguments of `keras.layers.Layer`.

        Raises:
            SpaceError: when the space is another one.
        """
        return cls(space, **kwargs)

    @classmethod
    def _of_space(cls, space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
        if not (isinstance(space, gym.spaces.Box) and np.isfinite([space.low, space.high]).all()):
            raise SpaceError(
                f"{cls.__name__} needs a Box with finite bounds; received {space}. Give the "
                "environment finite bounds, e.g. with gymnasium.wrappers.RescaleAction, or the "
                "layer a minimum and a maximum."
            )
        return space.low, space.high

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        bounds = {"minimum": self.minimum.tolist(), "maximum": self.maximum.tolist()}
        return {**super().get_config(), **bounds}

    def _bounds(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The bounds for a tensor that ends in their shape, or has it flattened."""
        shape, rank = self.minimum.shape, self.minimum.ndim
        if self.minimum.size == 1:
            shape = ()
        elif inputs.shape[-1] == self.minimum.size:
            shape = (self.minimum.size,)
        elif inputs.shape.rank < rank or not inputs.shape[-rank:].is_compatible_with(shape):
            raise ArgumentError(
                f"{self.name} has bounds of the shape {shape} and takes a tensor whose shape ends "
                f"in it, or in {self.minimum.size}; received {inputs.shape}."
            )
        return (
            tf.constant(self.minimum.reshape(shape), inputs.dtype),
            tf.constant(self.maximum.reshape(shape), inputs.dtype),
        )


@keras.saving.register_keras_serializable("kerasrl")
class ClipToSpec(_ToSpec):
    """Moves what is out of bounds to the bound.

    Args:
        minimum: float, or array of the shape of one example; the lower bounds, finite. Or, alone, a
            `gymnasium.spaces.Box` that has both.
        maximum: the same; the upper bounds.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., *shape]`, or with the shape flattened, to the same."""
        inputs = tf.cast(inputs, self.variable_dtype)
        return tf.clip_by_value(inputs, *self._bounds(inputs))


@keras.saving.register_keras_serializable("kerasrl")
class RescaleToSpec(_ToSpec):
    """Stretches [-1, 1] to the bounds; what is outside of it ends out of bounds.

    Args:
        minimum: float, or array of the shape of one example; the lower bounds, finite. Or, alone, a
            `gymnasium.spaces.Box` that has both.
        maximum: the same; the upper bounds.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., *shape]`, or with the shape flattened, to the same."""
        inputs = tf.cast(inputs, self.variable_dtype)
        return _stretched(inputs, *self._bounds(inputs))


@keras.saving.register_keras_serializable("kerasrl")
class TanhToSpec(_ToSpec):
    """Squashes any number to the bounds by tanh.

    Args:
        minimum: float, or array of the shape of one example; the lower bounds, finite. Or, alone, a
            `gymnasium.spaces.Box` that has both.
        maximum: the same; the upper bounds.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., *shape]`, or with the shape flattened, to the same."""
        inputs = tf.cast(inputs, self.variable_dtype)
        minimum, maximum = self._bounds(inputs)
        # A space refuses what rounding has carried past its bounds.
        return tf.clip_by_value(_stretched(tf.tanh(inputs), minimum, maximum), minimum, maximum)


def _stretched(x: tf.Tensor, minimum: tf.Tensor, maximum: tf.Tensor) -> tf.Tensor:
    """Maps [-1, 1] to [minimum, maximum], the ends exactly."""
    return 0.5 * (1.0 - x) * minimum + 0.5 * (1.0 + x) * maximum
