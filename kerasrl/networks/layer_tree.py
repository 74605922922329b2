"""The layers that a network is made of."""

import keras


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer or network, and all layers within it, each of them once.

    It is Keras's own walk, which has no public name. `tf.Module.submodules` fails at recurrent
    layers with dropout, as it reads attributes that they have while they are called only.
    """
    return list(layer._flatten_layers())
