"""Observations on one scale, by running statistics."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError


@keras.saving.register_keras_serializable("kerasrl")
class ObservationNormalization(keras.layers.Layer):
    """Normalises every float leaf of a nest of observations by running statistics.

    Each element has a mean and a variance of its own. They start at 0 and 1, change by `adapt`
    only, and are weights, so that they are saved and that copies of a network have them. Integer
    leaves are left as they are.

    Args:
        clip: positive float, in standard deviations; what is farther from the mean is moved there.
        epsilon: float, added to the variance, so that an element that never changes becomes 0.

    Attributes:
        means: list of float32 weights, one per leaf in `tf.nest` order, of the shape of the leaf
            without its batch dimension; of no effect for an integer leaf, like the next.
        variances: list of float32 weights, the same.
        count: int64 weight, how many observations they are of.
    """

    means: list[Any]
    variances: list[Any]

    def __init__(self, clip: float = 10.0, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # Which could lose what the statistics tell.
        self.clip = clip
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        """Makes the statistics for a nest of shapes with their batch dimension."""
        shapes = [shape[1:] for shape in _leaf_shapes(input_shape)]
        if not all(shape.is_fully_defined() for shape in shapes):
            raise ArgumentError(
                "ObservationNormalization needs leaves whose shapes are known; received "
                f"{_described(shapes)}, without their batch dimension. Give keras.Input the whole "
                "shape."
            )
        self.means = [self._statistic("mean", shape, "zeros") for shape in shapes]
        self.variances = [self._statistic("variance", shape, "ones") for shape in shapes]
        self.count = self.add_weight("count", (), tf.int64, "zeros", trainable=False)
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Maps a nest of tensors `[B, ...]` to the same nest, floats normalised and clipped."""
        leaves = tf.nest.flatten(inputs)
        self._check_shapes(leaves)
        return tf.nest.pack_sequence_as(
            inputs,
            [
                self._normalised(leaf, mean, variance) if leaf.dtype.is_floating else leaf
                for leaf, mean, variance in zip(leaves, self.means, self.variances, strict=True)
            ],
        )

    def adapt(self, observation: Any) -> None:
        """Adds a batch of observations to the statistics.

        Args:
            observation: nest of arrays `[M, ...]`, M at least 1, with the structure of the inputs.

        Raises:
            ArgumentError: when the nest has other leaves than the layer was built for, or no or
                different numbers of observations.

        Reference:
            Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
            sample variances", 1979.
        """
        observation = tf.nest.map_structure(np.asarray, observation)
        if not self.built:
            self.build(tf.nest.map_structure(lambda leaf: tf.TensorShape(leaf.shape), observation))
        leaves = tf.nest.flatten(observation)
        self._check_shapes(leaves)
        sizes = {len(leaf) for leaf in leaves}
        if len(sizes) != 1 or 0 in sizes:
            raise ArgumentError(
                "adapt needs the same number of observations in every leaf, at least 1; received "
                f"leaves of {[len(leaf) for leaf in leaves]}."
            )
        count, added = int(self.count.numpy()), sizes.pop()
        for leaf, mean, variance in zip(leaves, self.means, self.variances, strict=True):
            if leaf.dtype.kind == "f":
                merged = _merged(mean.numpy(), variance.numpy(), count, leaf)
                mean.assign(merged[0])
                variance.assign(merged[1])
        self.count.assign(count + added)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "clip": self.clip, "epsilon": self.epsilon}

    def _statistic(self, name: str, shape: tf.TensorShape, initializer: str) -> tf.Variable:
        return self.add_weight(
            name, shape, tf.float32, initializer, trainable=False, experimental_autocast=False
        )

    def _normalised(self, leaf: tf.Tensor, mean: tf.Variable, variance: tf.Variable) -> tf.Tensor:
        scaled = (tf.cast(leaf, tf.float32) - mean) / tf.sqrt(variance + self.epsilon)
        return tf.cast(tf.clip_by_value(scaled, -self.clip, self.clip), self.compute_dtype)

    def _check_shapes(self, leaves: list[Any]) -> None:
        expected = [mean.shape for mean in self.means]
        received = [tf.TensorShape(leaf.shape)[1:] for leaf in leaves]
        if len(received) != len(expected) or not all(
            one.is_compatible_with(other) for one, other in zip(expected, received, strict=True)
        ):
            raise ArgumentError(
                f"{self.name} was built for leaves of the shapes {_described(expected)}, without "
                f"their batch dimension; received {_described(received)}. Make a layer for each "
                "observation space."
            )


def _merged(
    mean: np.ndarray, variance: np.ndarray, count: int, batch: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Merges a mean and a variance of `count` values with a batch of values, in float64."""
    mean, variance = mean.astype(np.float64), variance.astype(np.float64)
    share = len(batch) / (count + len(batch))
    difference = batch.mean(axis=0, dtype=np.float64) - mean
    spread = batch.var(axis=0, dtype=np.float64)
    between = share * (1 - share) * np.square(difference)
    return mean + share * difference, (1 - share) * variance + share * spread + between


def _leaf_shapes(nest: Any) -> list[tf.TensorShape]:
    """Flattens a nest of shapes, which in the config of a saved layer are tuples or lists."""
    if isinstance(nest, dict):
        return [shape for key in sorted(nest) for shape in _leaf_shapes(nest[key])]
    if not isinstance(nest, tf.TensorShape) and not isinstance(nest[0], int | None):
        return [shape for child in nest for shape in _leaf_shapes(child)]
    return [tf.TensorShape(nest)]


def _described(shapes: list[tf.TensorShape]) -> str:
    return ", ".join(str(shape) for shape in shapes)
