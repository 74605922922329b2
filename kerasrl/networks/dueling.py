"""The dueling head."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class DuelingHead(keras.layers.Layer):
    """Action values as a state value plus advantages of mean zero.

    Under a policy of mixed precision it computes in float32, as a last layer should.

    Args:
        num_actions: int.

    Reference:
        Wang et al., "Dueling network architectures for deep reinforcement learning", 2016, eq. 9.
    """

    def __init__(self, num_actions: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.num_actions = num_actions
        self.value = keras.layers.Dense(1, dtype=self.variable_dtype)
        self.advantage = keras.layers.Dense(num_actions, dtype=self.variable_dtype)

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        for layer in (self.advantage, self.value):
            build_in_turn([layer], input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float features `[B, D]` to float action values `[B, num_actions]`."""
        advantage = self.advantage(inputs)
        return self.value(inputs) + advantage - tf.reduce_mean(advantage, axis=-1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_actions": self.num_actions}
