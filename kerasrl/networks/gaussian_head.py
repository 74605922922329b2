"""The last layer of a Gaussian policy."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import UNCAST
from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class GaussianHead(keras.layers.Layer):
    """Means that depend on the features, and standard deviations that do not.

    Under a policy of mixed precision it computes in float32, as a last layer should.

    Args:
        size: int, A, the dimensions of an action.
        log_std: float, the initial logarithm of every standard deviation.
        kernel_initializer: initializer of the layer that computes the means.

    Reference:
        Schulman et al., "Trust region policy optimization", 2015, appendix D.
    """

    def __init__(
        self,
        size: int,
        log_std: float = 0.0,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.size = size
        self.initial_log_std = log_std
        self.mean = keras.layers.Dense(
            size, kernel_initializer=kernel_initializer, dtype=self.variable_dtype
        )
        self.log_std = self.add_weight(
            name="log_std",
            shape=(size,),
            initializer=keras.initializers.Constant(log_std),
            **UNCAST,
        )

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        build_in_turn([self.mean], input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps float features `[B, D]` to means and logarithms of deviations, `[B, 2 * size]`."""
        mean = self.mean(inputs)
        log_std = tf.cast(self.log_std, mean.dtype)
        return tf.concat([mean, tf.zeros_like(mean) + log_std], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "size": self.size,
            "log_std": self.initial_log_std,
            "kernel_initializer": keras.initializers.serialize(self.mean.kernel_initializer),
        }
