"""Observations on one scale, by running statistics."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.compatibility import UNCAST
from kerasrl.errors import ArgumentError

_calls: contextvars.ContextVar[list[tuple[Any, Any]] | None] = contextvars.ContextVar(
    "calls", default=None
)


@contextlib.contextmanager
def normalizer_calls() -> Iterator[list[tuple[Any, Any]]]:
    """Lists every call of an `ObservationNormalization`: (layer, the nest of tensors it is fed)."""
    calls: list[tuple[Any, Any]] = []
    token = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(token)


@keras.saving.register_keras_serializable("kerasrl")
class ObservationNormalization(keras.layers.Layer):
    """Normalises every float leaf of a nest of observations by running statistics.

    Each element has a mean and a variance of its own. They start at 0 and 1, change by `adapt`
    only, and are weights, so that they are saved and that copies of a network have them. Integer
    leaves are left as they are; floats come out in the layer's compute dtype.

    A mean and a variance are sums of two float32 weights, a value and the remainder that it was
    rounded by: by one alone, a mean far from zero would be known too coarsely, and would no longer
    move when millions of observations have been counted. Statistics are float32 under any policy.

    Args:
        clip: positive float, in standard deviations; what is farther from the mean is moved there.
        epsilon: float, added to the variance, so that an element that never changes becomes 0.

    Attributes:
        means: list of float32 weights, one per leaf in `tf.nest` order, of the shape of the leaf
            without its batch dimension; of no effect for an integer leaf, like the next.
        variances: list of float32 weights, the same.
        count: int64 weight, how many observations they are of.
        mean_remainders, variance_remainders: lists of float32 weights, what is to be added to the
            means and to the variances.
    """

    means: list[Any]
    variances: list[Any]
    mean_remainders: list[Any]
    variance_remainders: list[Any]

    def __init__(self, clip: float = 10.0, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # What comes in loses nothing on the way.
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
        self.count = self.add_weight(
            name="count", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        # Last, so that in files the others have the names that they had without these.
        self.mean_remainders = [self._statistic("mean_remainder", s, "zeros") for s in shapes]
        self.variance_remainders = [
            self._statistic("variance_remainder", s, "zeros") for s in shapes
        ]
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Maps a nest of tensors `[B, ...]` to the same nest, floats normalised and clipped."""
        if (calls := _calls.get()) is not None:
            calls.append((self, inputs))
        leaves = tf.nest.flatten(inputs)
        self._check_shapes(leaves)
        statistics = zip(self.means, self.mean_remainders, self.variances, strict=True)
        return tf.nest.pack_sequence_as(
            inputs,
            [
                self._normalised(leaf, *statistic) if leaf.dtype.is_floating else leaf
                for leaf, statistic in zip(leaves, statistics, strict=True)
            ],
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Those of what comes in."""
        return input_shape

    def compute_output_spec(self, inputs: Any) -> Any:
        """The shapes and dtypes of what comes in, where Keras 3 asks for both."""
        return tf.nest.map_structure(lambda leaf: keras.KerasTensor(leaf.shape, leaf.dtype), inputs)

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
        self.merge(tf.nest.map_structure(tf.convert_to_tensor, observation))

    def merge(self, inputs: Any) -> None:
        """Does what `adapt` does with tensors, eagerly or in a graph, where it is built already."""
        leaves = tf.nest.flatten(inputs)
        self._check_shapes(leaves)
        added = tf.shape(leaves[0], tf.int64)[0]
        share = added / (self.count + added)  # float64
        means = zip(self.means, self.mean_remainders, strict=True)
        variances = zip(self.variances, self.variance_remainders, strict=True)
        for leaf, mean, variance in zip(leaves, means, variances, strict=True):
            if leaf.dtype.is_floating:
                merged = _merged(_sum_of(mean), _sum_of(variance), share, leaf)
                _assign_sum(mean, merged[0])
                _assign_sum(variance, merged[1])
        self.count.assign_add(added)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "clip": self.clip, "epsilon": self.epsilon}

    def _statistic(self, name: str, shape: tf.TensorShape, initializer: str) -> tf.Variable:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype="float32",
            initializer=initializer,
            trainable=False,
            **UNCAST,
        )

    def _normalised(
        self, leaf: tf.Tensor, mean: tf.Variable, remainder: tf.Variable, variance: tf.Variable
    ) -> tf.Tensor:
        # The mean is close to the observation, so that nothing is lost by taking it away first.
        centred = (tf.cast(leaf, tf.float32) - mean) - remainder
        scaled = centred / tf.sqrt(variance + self.epsilon)
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
    mean: tf.Tensor, variance: tf.Tensor, share: tf.Tensor, batch: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Merges a mean and a variance with a batch, which is `share` of all; all are float64."""
    batch = tf.cast(batch, tf.float64)
    batch_mean = tf.reduce_mean(batch, axis=0)
    spread = tf.reduce_mean(tf.square(batch - batch_mean), axis=0)
    difference = batch_mean - mean
    between = share * (1 - share) * tf.square(difference)
    return mean + share * difference, (1 - share) * variance + share * spread + between


def _sum_of(pair: tuple[tf.Variable, tf.Variable]) -> tf.Tensor:
    value, remainder = (tf.cast(part, tf.float64) for part in pair)
    return value + remainder


def _assign_sum(pair: tuple[tf.Variable, tf.Variable], total: tf.Tensor) -> None:
    value = tf.cast(total, tf.float32)
    pair[0].assign(value)
    pair[1].assign(tf.cast(total - tf.cast(value, tf.float64), tf.float32))


def _leaf_shapes(nest: Any) -> list[tf.TensorShape]:
    """Flattens a nest of shapes, which in the config of a saved layer are tuples or lists."""
    if isinstance(nest, dict):
        return [shape for key in sorted(nest) for shape in _leaf_shapes(nest[key])]
    if not isinstance(nest, tf.TensorShape) and not isinstance(nest[0], int | None):
        return [shape for child in nest for shape in _leaf_shapes(child)]
    return [tf.TensorShape(nest)]


def _described(shapes: list[tf.TensorShape]) -> str:
    return ", ".join(str(shape) for shape in shapes)
