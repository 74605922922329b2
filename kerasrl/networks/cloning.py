"""Copies of networks."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import NetworkError


def clone(source: keras.Model, same_weights: bool = True) -> keras.Model:
    """Makes a network of the same layers.

    Args:
        source: Keras model that has been called or built.
        same_weights: bool, whether it starts with the source's weights or with fresh ones.

    Raises:
        NetworkError: when the model does not say how to make it again.
    """
    try:
        has_graph = source.inputs is not None
        copy = keras.models.clone_model(source, clone_function=_clone_layer if has_graph else None)
        if not copy.built:
            arguments, _ = source.save_spec()
            copy(*tf.nest.map_structure(_zeros, arguments))
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise NetworkError(
            f"{source.name} must be copied, for a target or a twin, and cannot be: {error}. Build "
            "it with the Functional or Sequential API, or give its class a get_config()."
        ) from error
    accept_nests(copy)
    if same_weights:
        copy.set_weights(source.get_weights())
    return copy


def accept_nests(network: keras.Model) -> None:
    """Lets a functional model take its inputs in nests of any depth, such as a Dict in a Dict.

    It takes them as they are flattened. Keras checks them beforehand against a list that it makes
    of the outermost level, and fails when that has nests in it and is as long as there are inputs.
    """
    inputs: Any = getattr(network, "inputs", None) and getattr(network, "input", None)
    if not isinstance(inputs, dict | list | tuple):
        return
    children = inputs.values() if isinstance(inputs, dict) else inputs
    if any(tf.nest.is_nested(child) for child in children):
        network.input_spec = None


def twin(critic: keras.Model, inputs: list[Any]) -> keras.Model:
    """Makes a network of two critics that share nothing but their inputs.

    Args:
        critic: Keras model from `inputs` to `[B, 1]`; it becomes the first of the two, and a clone
            with weights of its own the second.
        inputs: nest of Keras tensors.

    Returns:
        Keras model from `inputs` to `[B, 2]`.

    Raises:
        NetworkError: when the critic cannot be cloned, or its clone starts with the same weights.

    Reference:
        Fujimoto et al., "Addressing function approximation error in actor-critic methods", 2018.
    """
    second = clone(critic, same_weights=False)
    if _same_random_weights(critic, second):
        raise NetworkError(
            f"the twin of {critic.name} starts with the very same weights, so that two are no "
            "better than one. Leave the seed= out of its initializers."
        )
    second._name = f"{critic.name}_twin"
    values = keras.layers.Concatenate()([critic(inputs), second(inputs)])
    return keras.Model(inputs, values, name=f"twin_{critic.name}")


def _same_random_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = list(zip(one.get_weights(), other.get_weights(), strict=True))
    varied = any(np.ptp(first) > 0 for first, _ in pairs if first.size)
    return varied and all(np.array_equal(first, second) for first, second in pairs)


def _clone_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.Model):
        return clone(layer, same_weights=False)
    return type(layer).from_config(layer.get_config())


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)
