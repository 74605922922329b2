"""Noise on actions, to explore with. It is drawn at every call, in training or not."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import UNCAST
from kerasrl.errors import ArgumentError


@keras.saving.register_keras_serializable("kerasrl")
class ClippedGaussian(keras.layers.Layer):
    """Adds Gaussian noise, another one at every call, and clips the sum.

    Args:
        stddev: float, the standard deviation.
        minimum: float, the least value that comes out.
        maximum: float, the greatest.
    """

    def __init__(self, stddev: float, minimum: float = -1.0, maximum: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        _check_stddev(self, stddev)
        if minimum > maximum:
            raise ArgumentError(
                f"ClippedGaussian needs minimum <= maximum; received {minimum} and {maximum}."
            )
        self.stddev = stddev
        self.minimum = minimum
        self.maximum = maximum

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps a float tensor to one of the same shape."""
        noise = self.stddev * tf.random.normal(tf.shape(inputs), dtype=inputs.dtype)
        return tf.clip_by_value(inputs + noise, self.minimum, self.maximum)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "stddev": self.stddev,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }


@keras.saving.register_keras_serializable("kerasrl")
class OrnsteinUhlenbeck(keras.layers.Layer):
    """Adds noise that drifts from call to call, as a particle does that friction slows down.

    At every call `noise += -damping * noise * dt + stddev * sqrt(dt) * normal`, for every element
    of the input on its own. In the long run its variance is
    `stddev**2 * dt / (1 - (1 - damping * dt)**2)`, and its correlation over k calls
    `(1 - damping * dt)**k`.

    Args:
        stddev: float, what is added to the noise per square root of time.
        damping: float, the part of the noise that is lost per time.
        dt: positive float, the time from call to call; `damping * dt` must be in [0, 1].

    Attributes:
        noise: float weight of the shape of the input, which must be known with its batch size.

    Reference:
        Uhlenbeck and Ornstein, "On the theory of the Brownian motion", 1930; for actions, Lillicrap
        et al., "Continuous control with deep reinforcement learning", 2016,
        https://arxiv.org/abs/1509.02971, section 7.
    """

    noise: Any

    def __init__(self, stddev: float = 0.2, damping: float = 0.15, dt: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        _check_stddev(self, stddev)
        if not (dt > 0 and 0 <= damping * dt <= 1):
            raise ArgumentError(
                "OrnsteinUhlenbeck needs dt > 0 and damping * dt in [0, 1], since the noise swings "
                f"or grows beyond; received damping={damping} and dt={dt}."
            )
        self.stddev = stddev
        self.damping = damping
        self.dt = dt
        self.stateful = True

    def build(self, input_shape: Any) -> None:
        """Makes the noise, of zeros."""
        if not tf.TensorShape(input_shape).is_fully_defined():
            raise ArgumentError(
                "OrnsteinUhlenbeck has noise for every example of a batch and needs to know their "
                f"number; received {input_shape}. Give keras.Input a batch_size."
            )
        self.noise = self.add_weight(
            name="noise", shape=input_shape, initializer="zeros", trainable=False, **UNCAST
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps a float tensor to one of the same shape, and moves the noise on."""
        step = tf.random.normal(self.noise.shape, stddev=self.stddev, dtype=self.noise.dtype)
        kept = (1.0 - self.damping * self.dt) * self.noise
        noise = self.noise.assign(kept + self.dt**0.5 * step)
        return inputs + tf.cast(noise, inputs.dtype)

    def reset_states(self) -> None:
        """Sets the noise back to zero, as for a new episode."""
        self.noise.assign(tf.zeros_like(self.noise))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "stddev": self.stddev,
            "damping": self.damping,
            "dt": self.dt,
        }


def _check_stddev(layer: keras.layers.Layer, stddev: float) -> None:
    if not stddev >= 0:
        raise ArgumentError(f"{type(layer).__name__} needs stddev >= 0; received {stddev}.")
