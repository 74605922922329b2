"""Copies of networks."""

from typing import Any

import keras

from kerasrl.errors import NetworkError


def clone(source: keras.Model, same_weights: bool = True) -> keras.Model:
    """Makes a network of the same layers.

    Args:
        source: built Keras model.
        same_weights: bool, whether it starts with the source's weights or with fresh ones.

    Raises:
        NetworkError: when the model does not say how to make it again.
    """
    try:
        copy = keras.models.clone_model(source)
        if not copy.built:
            copy.build(source.input_shape)
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise NetworkError(
            f"{source.name} must be copied, for a target or a twin, and cannot be: {error}. Build "
            "it with the Functional or Sequential API, or give its class a get_config()."
        ) from error
    if same_weights:
        copy.set_weights(source.get_weights())
    return copy


def twin(critic: keras.Model, inputs: list[Any]) -> keras.Model:
    """Makes a network of two critics that share nothing but their inputs.

    Args:
        critic: Keras model from `inputs` to `[B, 1]`; it becomes the first of the two, and a clone
            with weights of its own the second.
        inputs: nest of Keras tensors.

    Returns:
        Keras model from `inputs` to `[B, 2]`.

    Reference:
        Fujimoto et al., "Addressing function approximation error in actor-critic methods", 2018.
    """
    second = clone(critic, same_weights=False)
    second._name = f"{critic.name}_twin"
    values = keras.layers.Concatenate()([critic(inputs), second(inputs)])
    return keras.Model(inputs, values, name=f"twin_{critic.name}")
