"""Distributions over the actions of a space, whose parameters a network computes."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl.networks.bounds import clip_to_bounds

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class CategoricalActions:
    """Independent categorical distributions, one for each integer of an action.

    The parameters are the logits of all of them, one after the other.

    Args:
        space: `gymnasium.Space`: Discrete, MultiDiscrete or MultiBinary.

    Attributes:
        num_parameters: int, P.
    """

    def __init__(self, space: Any):
        if isinstance(space, gym.spaces.MultiDiscrete):
            sizes, starts = space.nvec, space.start
        elif isinstance(space, gym.spaces.MultiBinary):
            sizes, starts = np.full(space.shape, 2), np.zeros(space.shape, int)
        else:
            sizes, starts = np.array(space.n), np.array(space.start)
        self._shape = tuple(space.shape)
        self._dtype = np.dtype(space.dtype)
        self._sizes = [int(size) for size in np.ravel(sizes)]
        self._starts = [int(start) for start in np.ravel(starts)]
        self.num_parameters = sum(self._sizes)

    def log_prob(self, parameters: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of actions, in nats.

        Args:
            parameters: float, [..., P].
            action: int, [..., *shape of the space].

        Returns:
            float, [...].
        """
        leading = tf.shape(parameters)[:-1]
        shape = tf.concat([leading, [len(self._sizes)]], axis=0)
        columns = tf.reshape(tf.cast(action, tf.int64), shape)
        chosen = [
            -tf.nn.sparse_softmax_cross_entropy_with_logits(columns[..., i] - start, logits)
            for i, (start, logits) in enumerate(
                zip(self._starts, self._split(parameters), strict=True)
            )
        ]
        return tf.add_n(chosen)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Entropies in nats: float [..., P] to float [...]."""
        entropies = []
        for logits in self._split(parameters):
            log_prob = tf.nn.log_softmax(logits)
            entropies.append(-tf.reduce_sum(tf.exp(log_prob) * log_prob, axis=-1))
        return tf.add_n(entropies)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """The likeliest actions: float [B, P] to int [B, *shape of the space]."""
        return self._actions([tf.argmax(logits, axis=-1) for logits in self._split(parameters)])

    def draw(self, parameters: tf.Tensor) -> tf.Tensor:
        """Draws actions by TensorFlow's own random numbers, of the shapes of `mode`."""
        return self._actions(
            [tf.random.categorical(logits, 1)[:, 0] for logits in self._split(parameters)]
        )

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws actions: float [B, P] to int [B, *shape of the space]."""
        # The largest of the logits, each with Gumbel noise added, is a draw from their softmax.
        noisy = parameters + rng.gumbel(size=parameters.shape)
        columns = np.split(noisy, np.cumsum(self._sizes)[:-1], axis=-1)
        drawn = [
            column.argmax(axis=-1) + i for column, i in zip(columns, self._starts, strict=True)
        ]
        return np.stack(drawn, axis=-1).reshape(-1, *self._shape).astype(self._dtype)

    def _split(self, parameters: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(parameters, self._sizes, axis=-1)

    def _actions(self, columns: list[tf.Tensor]) -> tf.Tensor:
        """Makes actions of integers `[B]` that are counted from 0."""
        counted = [column + start for column, start in zip(columns, self._starts, strict=True)]
        actions = tf.reshape(tf.stack(counted, axis=-1), (-1, *self._shape))
        return tf.cast(actions, tf.as_dtype(self._dtype))


class GaussianActions:
    """Independent Gaussians, one for each number of an action.

    The parameters are the means, then the logarithms of the standard deviations, on the scale of
    the bounds: where both are finite, -1 and 1 stand for them, so that a mean of 0 is the middle
    and a deviation of 1 is half the range. Where one is missing, 0 stands for what lies 1 inside
    of the other; where both are, 0 for 0; and the unit is the environment's. A number that is
    constant is neither drawn nor learned.

    Log-probabilities and entropies are those of actions on that scale, so that an entropy is worth
    the same whatever the bounds. Actions are in the environment's units. What `sample` gives to
    learn from may lie beyond the bounds of the space; all else is clipped to them.

    Args:
        space: `gymnasium.spaces.Box` of floats.

    Attributes:
        num_parameters: int, P = 2 A.
        offset: float64 array `[A]`, the action that a mean of 0 stands for.
        scale: float64 array `[A]`, what 1 stands for in the environment's units; 0 for a constant.
    """

    def __init__(self, space: Any):
        self._space = space
        self.num_parameters = 2 * int(np.prod(space.shape))
        self.offset, self.scale = _scale(space.low.ravel(), space.high.ravel())

    def log_prob(self, parameters: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Log-densities of actions on the scale of the bounds, in nats.

        Args:
            parameters: float, [..., P].
            action: float, [..., *shape of the space].

        Returns:
            float, [...].
        """
        mean, log_std = tf.split(parameters, 2, axis=-1)
        error = self._to_unit(tf.reshape(action, tf.shape(mean)), mean.dtype) - mean
        log_density = -0.5 * tf.square(error * tf.exp(-log_std)) - log_std - _HALF_LOG_2PI
        return self._sum(log_density)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Entropies on the scale of the bounds, in nats: float [..., P] to float [...]."""
        _, log_std = tf.split(parameters, 2, axis=-1)
        return self._sum(log_std + 0.5 + _HALF_LOG_2PI)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """The mean actions, clipped: float [B, P] to float [B, *shape of the space]."""
        mean, _ = tf.split(parameters, 2, axis=-1)
        return self._clipped(mean)

    def draw(self, parameters: tf.Tensor) -> tf.Tensor:
        """Draws actions by TensorFlow's own random numbers, clipped, of the shapes of `mode`."""
        mean, log_std = tf.split(parameters, 2, axis=-1)
        noise = tf.random.normal(tf.shape(mean), dtype=mean.dtype)
        return self._clipped(mean + tf.exp(log_std) * noise)

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws actions: float [B, P] to float [B, *shape of the space]."""
        mean, log_std = np.split(parameters, 2, axis=-1)
        drawn = mean + np.exp(log_std) * rng.standard_normal(mean.shape, np.float32)
        actions = self.offset + self.scale * drawn
        return actions.reshape(-1, *self._space.shape).astype(self._space.dtype)

    def _to_unit(self, actions: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Puts actions `[..., A]` on the scale of the bounds; constant ones become 0."""
        # What a float64 says beyond a float32 may be all of it, as in Box(1e9, 1e9 + 1).
        wide = tf.float64 if actions.dtype == tf.float64 else dtype
        offset, scale = (tf.constant(x, wide) for x in (self.offset, self.scale))
        return tf.cast(tf.math.divide_no_nan(tf.cast(actions, wide) - offset, scale), dtype)

    def _sum(self, of_numbers: tf.Tensor) -> tf.Tensor:
        """Sums over the numbers of an action but for constant ones, `[..., A]` to `[...]`."""
        if self.scale.all():
            return tf.reduce_sum(of_numbers, axis=-1)
        varies = tf.constant(self.scale > 0)
        return tf.reduce_sum(tf.where(varies, of_numbers, tf.zeros_like(of_numbers)), axis=-1)

    def _clipped(self, actions: tf.Tensor) -> tf.Tensor:
        space = self._space
        offset, scale = (tf.constant(x, actions.dtype) for x in (self.offset, self.scale))
        clipped = clip_to_bounds(offset + scale * actions, space.low.ravel(), space.high.ravel())
        return tf.reshape(clipped, (-1, *space.shape))


def _scale(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The offset and the scale of `GaussianActions` for bounds `[A]`, float64."""
    # A bound that is the largest number there is is another way to say that there is none.
    largest = min(np.finfo(low.dtype).max, np.finfo(np.float32).max)
    below, above = np.abs(low) < largest, np.abs(high) < largest
    low = np.where(below, low, 0).astype(np.float64)
    high = np.where(above, high, 0).astype(np.float64)
    offset = np.select(
        [below & above, below, above], [low / 2 + high / 2, low + 1, high - 1], default=0.0
    )
    return offset, np.where(below & above, high / 2 - low / 2, 1.0)


def action_distribution(space: gym.Space) -> CategoricalActions | GaussianActions:
    """The distribution that goes with a space: Gaussian for a Box, categorical for others."""
    return (
        GaussianActions(space) if isinstance(space, gym.spaces.Box) else CategoricalActions(space)
    )
