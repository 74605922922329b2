"""A multilayer perceptron."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class MLP(keras.layers.Layer):
    """Dense layers one after another.

    Args:
        units: sequence of int, the width of each layer.
        activation: the activation of every layer, as in `keras.layers.Dense`.
        kernel_initializer: the initializer of every layer, likewise.
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: Any = "relu",
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.stack = [
            keras.layers.Dense(
                width,
                self.activation,
                kernel_initializer=_fresh(self.kernel_initializer),
                dtype=self.dtype_policy,
            )
            for width in self.units
        ]

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        build_in_turn(self.stack, input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[..., units[-1]]` for `[..., D]`."""
        return (*tuple(input_shape)[:-1], [input_shape[-1], *self.units][-1])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., D]` to float `[..., units[-1]]`."""
        for layer in self.stack:
            inputs = layer(inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _fresh(initializer: Any) -> Any:
    """Another initializer of the same kind: one that is used twice gives the same weights twice."""
    return type(initializer).from_config(initializer.get_config())
