"""Last layers of networks."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError
from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class DiscreteValuedHead(keras.layers.Layer):
    """The distribution of a value, as the logits of fixed, evenly spaced atoms.

    Under a policy of mixed precision it computes in float32, as a last layer should.

    Args:
        minimum: float, the least atom.
        maximum: float, the greatest.
        num_atoms: int, N, at least 2.

    Attributes:
        atoms: float32 array `[N]`.

    Reference:
        Bellemare et al., "A distributional perspective on reinforcement learning", 2017,
        https://arxiv.org/abs/1707.06887.
    """

    def __init__(self, minimum: float, maximum: float, num_atoms: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        if not (np.isfinite([minimum, maximum]).all() and minimum < maximum and num_atoms >= 2):
            raise ArgumentError(
                "DiscreteValuedHead needs a finite minimum < maximum and num_atoms >= 2; received "
                f"{minimum}, {maximum} and {num_atoms}."
            )
        self.minimum = minimum
        self.maximum = maximum
        self.num_atoms = num_atoms
        self.atoms = np.linspace(minimum, maximum, num_atoms, dtype=np.float32)
        self.logits = keras.layers.Dense(num_atoms, dtype=self.variable_dtype)

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        build_in_turn([self.logits], input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float features `[..., D]` to logits `[..., N]`."""
        return self.logits(inputs)

    def mean(self, logits: tf.Tensor) -> tf.Tensor:
        """The expected values: logits `[..., N]` to float `[...]`."""
        probabilities = tf.nn.softmax(logits)
        return tf.reduce_sum(probabilities * tf.cast(self.atoms, probabilities.dtype), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "minimum": self.minimum,
            "maximum": self.maximum,
            "num_atoms": self.num_atoms,
        }


@keras.saving.register_keras_serializable("kerasrl")
class NearZeroInitializedDense(keras.layers.Dense):
    """A dense layer that starts near zero, so that a policy starts in the middle of its range.

    Args:
        units: int, the width.
        scale: float, the variance of the initial kernel times the number of its inputs.
        **kwargs: as in `keras.layers.Dense`, but for `kernel_initializer`.
    """

    def __init__(self, units: int, scale: float = 1e-4, **kwargs: Any):
        initializer = keras.initializers.VarianceScaling(scale)
        super().__init__(units, kernel_initializer=initializer, **kwargs)
        self.scale = scale

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {**super().get_config(), "scale": self.scale}
        del config["kernel_initializer"]
        return config
