"""The convolutions of the deep Q-network."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.errors import NetworkError
from kerasrl.networks.inner_layers import build_in_turn


@keras.saving.register_keras_serializable("kerasrl")
class NatureCNN(keras.layers.Layer):
    """Three convolutions and a dense layer of 512, each with a ReLU, on images.

    The convolutions have 32 filters of 8 x 8 with stride 4, 64 of 4 x 4 with stride 2, and 64 of
    3 x 3 with stride 1, without padding: an image is at least 36 x 36. What comes out is made of
    pixels in [0, 1], so that images need, and get, no scaling elsewhere.

    Reference:
        Mnih et al., "Human-level control through deep reinforcement learning", 2015, methods.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.stack = [
            keras.layers.Conv2D(32, 8, 4, activation="relu", dtype=self.dtype_policy),
            keras.layers.Conv2D(64, 4, 2, activation="relu", dtype=self.dtype_policy),
            keras.layers.Conv2D(64, 3, 1, activation="relu", dtype=self.dtype_policy),
            keras.layers.Flatten(dtype=self.dtype_policy),
            keras.layers.Dense(512, "relu", dtype=self.dtype_policy),
        ]

    def build(self, input_shape: Any) -> None:
        """Builds the layers within."""
        build_in_turn(self.stack, input_shape)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[B, 512]`."""
        return (input_shape[0], 512)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer.

        Raises:
            NetworkError: when the images are not uint8.
        """
        dtype = tf.as_dtype(inputs.dtype)
        if dtype != tf.uint8:
            # Keras casts uint8 to float for a model whose Input does not say otherwise, after which
            # pixels in [0, 255] and in [0, 1] look the same.
            raise NetworkError(
                f"NatureCNN takes uint8 images and scales them itself; received {dtype.name}"
                ". Declare keras.Input(shape, dtype='uint8'), and observations of dtype uint8."
            )
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps uint8 images `[B, height, width, channels]` to float features `[B, 512]`."""
        features = tf.cast(inputs, self.compute_dtype) / 255
        for layer in self.stack:
            features = layer(features)
        return features
