"""From observations of any space to a vector of features."""

import re
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.networks.observation_normalization import ObservationNormalization


@keras.saving.register_keras_serializable("kerasrl")
class OneHot(keras.layers.Layer):
    """One-hot code of integers, one group of ones and zeros per integer.

    Args:
        sizes: sequence of int, how many values each integer of the last axis can take.
        starts: sequence of int, the least value of each.
    """

    def __init__(self, sizes: Any, starts: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.sizes = tuple(int(size) for size in sizes)
        self.starts = tuple(int(start) for start in starts)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps int `[B, len(sizes)]` to float `[B, sum(sizes)]`."""
        columns = [
            tf.one_hot(inputs[:, i] - start, size, dtype=self.compute_dtype)
            for i, (size, start) in enumerate(zip(self.sizes, self.starts, strict=True))
        ]
        return tf.concat(columns, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "sizes": self.sizes, "starts": self.starts}


def observation_features(space: gym.Space, normalize: bool = False) -> tuple[Any, Any]:
    """Makes Keras inputs for a space and one vector of features out of them.

    Discrete and MultiDiscrete become one-hot, uint8 (images) is divided by 255, everything else is
    taken as it is; all is flattened and concatenated in `tf.nest` order.

    Args:
        space: `gymnasium.Space` of Box, Discrete, MultiBinary, MultiDiscrete, Dict and Tuple.
        normalize: bool, whether floats are normalised by an `ObservationNormalization`.

    Returns:
        A nest of `keras.Input`s with the structure of `space`, and a float Keras tensor `[B, D]`.
    """
    inputs = _inputs(space, "observation")
    if isinstance(space, gym.spaces.Dict):  # Keras 3 warns of inputs that are called otherwise.
        leaves = [key for key, value in inputs.items() if not tf.nest.is_nested(value)]
        inputs |= {key: _inputs(space[key], key) for key in leaves if _is_free(key)}
    observation = ObservationNormalization()(inputs) if normalize else inputs
    vectors = _vectors(space, observation)
    return inputs, vectors[0] if len(vectors) == 1 else keras.layers.Concatenate()(vectors)


def _inputs(space: gym.Space, name: str) -> Any:
    if isinstance(space, gym.spaces.Dict):
        return {key: _inputs(space[key], f"{name}_{key}") for key in sorted(space.keys())}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(_inputs(child, f"{name}_{i}") for i, child in enumerate(space))
    name = name.replace("/", "_")  # Which Keras 3 has no name with.
    return keras.Input(space.shape, dtype=tf.as_dtype(space.dtype).name, name=name)


def _is_free(name: str) -> bool:
    """Whether an input may have a name: no other layer of a default network will have it."""
    registered = [known.rpartition(">")[2] for known in keras.saving.get_custom_objects()]
    taken = {kind.lower() for kind in (*dir(keras.layers), *registered)} | {"action"}
    plain = re.sub(r"_|\d+$", "", name).lower()
    return plain not in taken and re.fullmatch("[A-Za-z0-9][A-Za-z0-9_]*", name) is not None


def _vectors(space: Any, inputs: Any) -> list[Any]:
    if isinstance(space, gym.spaces.Dict):
        return [v for key in sorted(space.keys()) for v in _vectors(space[key], inputs[key])]
    if isinstance(space, gym.spaces.Tuple):
        return [v for i, child in enumerate(space) for v in _vectors(child, inputs[i])]
    if isinstance(space, gym.spaces.Discrete):
        return [OneHot([space.n], [space.start])(keras.layers.Reshape((1,))(inputs))]
    if isinstance(space, gym.spaces.MultiDiscrete):
        return [OneHot(np.ravel(space.nvec), np.ravel(space.start))(_flat(inputs))]
    scale = 1 / 255 if space.dtype == np.uint8 else 1.0
    if space.dtype.kind != "f":
        inputs = keras.layers.Rescaling(scale)(inputs)
    return [_flat(inputs)]


def _flat(inputs: Any) -> Any:
    return inputs if len(inputs.shape) == 2 else keras.layers.Flatten()(inputs)
