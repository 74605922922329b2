"""What the layers of networks add to a loss: regularisers, and what they give to `add_loss`."""

from typing import Any

import keras
import tensorflow as tf


def has_layer_losses(*networks: Any) -> bool:
    """Whether a layer of networks that were called has a loss of its own."""
    return bool(_losses(networks))


def layer_loss(*networks: Any) -> Any:
    """The sum of the losses of networks' layers; see `Agent.layer_loss`."""
    losses = _losses(networks)
    if not losses:
        return 0.0
    return tf.add_n([tf.reduce_sum(tf.cast(loss, tf.float32)) for loss in losses])


def _losses(networks: tuple[Any, ...]) -> list[tf.Tensor]:
    """As Keras finds them in a model of all the networks: a layer that several have counts once."""
    whole = keras.layers.Layer(name="networks", dtype="float32")
    whole.networks = [network for network in networks if network is not None]
    return whole.losses
