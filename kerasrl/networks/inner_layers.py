"""Layers that are made of others."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def build_in_turn(layers: Sequence[keras.layers.Layer], input_shape: Any) -> Any:
    """Builds layers, each for what the one before puts out.

    Keras 2 would build them when they are called; Keras 3 asks it of the layer that has them.

    Args:
        layers: sequence of layers.
        input_shape: the shape of what the first is called on.

    Returns:
        The shape of what the last puts out.
    """
    for layer in layers:
        with tf.name_scope(layer.name):
            layer.build(input_shape)
        input_shape = layer.compute_output_shape(input_shape)
    return input_shape
