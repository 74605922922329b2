"""A multilayer perceptron whose first layer is normalised."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasrl.errors import ArgumentError
from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class LayerNormMLP(keras.layers.Layer):
    """A dense layer, layer normalisation and tanh, then dense layers one after another.

    It takes observations of any scale. All kernels are drawn from a uniform distribution of
    variance 1 / (3 * width).

    Args:
        units: sequence of int, the width of each layer.
        activation: the activation of every layer but the first and, unless `activate_final`, the
            last, as in `keras.layers.Dense`.
        activate_final: bool, whether the last layer has the activation too. A single layer has its
            tanh either way.

    Reference:
        Hoffman et al., "Acme: a research framework for distributed reinforcement learning", 2020,
        https://arxiv.org/abs/2006.00979.
    """

    def __init__(
        self,
        units: Sequence[int],
        activation: Any = "elu",
        activate_final: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = tuple(units)
        if not self.units:
            raise ArgumentError(
                "LayerNormMLP needs the width of at least one layer; received units=()."
            )
        self.activation = keras.activations.get(activation)
        self.activate_final = activate_final
        activations = [self.activation] * (len(self.units) - 1)
        if activations and not activate_final:
            activations[-1] = None
        self.first = _dense(self.units[0], None, self.dtype_policy)
        self.normalization = keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy)
        self.stack = [
            _dense(width, function, self.dtype_policy)
            for width, function in zip(self.units[1:], activations, strict=True)
        ]

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        hidden = build_in_turn([self.first], input_shape)
        self.normalization.build((None, self.units[0]))
        build_in_turn(self.stack, hidden)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[..., units[-1]]` for `[..., D]`."""
        return (*tuple(input_shape)[:-1], self.units[-1])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float `[..., D]` to float `[..., units[-1]]`."""
        hidden = self.first(inputs)
        # LayerNormalization serves no other rank than the first that it is called with.
        rows = self.normalization(tf.reshape(hidden, (-1, self.units[0])))
        hidden = tf.tanh(tf.reshape(rows, tf.shape(hidden)))
        for layer in self.stack:
            hidden = layer(hidden)
        return hidden

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "activate_final": self.activate_final,
        }


def _dense(units: int, activation: Any, dtype: Any) -> keras.layers.Dense:
    initializer = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform")
    return keras.layers.Dense(units, activation, kernel_initializer=initializer, dtype=dtype)
