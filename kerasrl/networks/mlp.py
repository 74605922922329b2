"""A multilayer perceptron."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasrl")
class MLP(keras.layers.Layer):
    """Dense layers one after another.

    Args:
        units: sequence of int, the width of each layer.
        activation: the activation of every layer, as in `keras.layers.Dense`.
    """

    def __init__(self, units: Sequence[int], activation: Any = "relu", **kwargs: Any):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        self.stack = [keras.layers.Dense(width, self.activation) for width in self.units]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., D]` to float `[..., units[-1]]`."""
        for layer in self.stack:
            inputs = layer(inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "units": self.units, "activation": activation}
