"""Distributions over the actions of a space, whose parameters a network computes."""

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl.networks.action_numbers import offset_and_scale, sizes_and_starts
from kerasrl.networks.bounds import clip_to_bounds


class CategoricalActions:
    """Independent categorical distributions, one for each integer of an action.

    The parameters are the logits of all of them, one after the other.

    Args:
        space: `gymnasium.Space`: Discrete, MultiDiscrete or MultiBinary.

    Attributes:
        num_parameters: int, P.
    """

    def __init__(self, space: Any):
        self._space = space
        self._sizes, self._starts = sizes_and_starts(space)
        self.num_parameters = sum(self._sizes)
        ends = np.cumsum(self._sizes)
        self._columns = [slice(e - size, e) for e, size in zip(ends, self._sizes, strict=True)]

    def distribution(self, parameters: tf.Tensor) -> Any:
        """The distribution over actions of the space: float [..., P] to [...] of them.

        Returns:
            `kerasrl.networks.distributions.Categoricals`, a `tfp.distributions.Distribution`.
        """
        # TensorFlow Probability takes a tenth of the time that kerasrl takes to import, and 25 MB:
        # not for agents without distributions, and not in the processes of environments.
        from kerasrl.networks.distributions import Categoricals

        return Categoricals(parameters, self._space)

    def log_prob(self, parameters: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of actions, in nats.

        Args:
            parameters: float, [..., P].
            action: int, [..., *shape of the space].

        Returns:
            float, [...].
        """
        return self.distribution(parameters).paired_log_prob(action)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Entropies in nats: float [..., P] to float [...]."""
        return self.distribution(parameters).entropy_of_finite_logits()

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """The likeliest actions: float [B, P] to int [B, *shape of the space]."""
        return self.distribution(parameters).mode()

    def draw(self, parameters: tf.Tensor) -> tf.Tensor:
        """Draws actions by TensorFlow's own random numbers, of the shapes of `mode`."""
        # Exported to TensorFlow Lite, what `distribution` samples does not fit the space: it was
        # refused on loading for a matrix of integers.
        each = zip(self._starts, tf.split(parameters, self._sizes, axis=-1), strict=True)
        drawn = [start + tf.random.categorical(logits, 1)[:, 0] for start, logits in each]
        actions = tf.reshape(tf.stack(drawn, axis=-1), (-1, *self._space.shape))
        return tf.cast(actions, tf.as_dtype(self._space.dtype))

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws actions: float [B, P] to int [B, *shape of the space]."""
        # The largest of the logits, each with Gumbel noise added, is a draw from their softmax.
        noisy = parameters + rng.gumbel(size=parameters.shape)
        each = zip(self._starts, self._columns, strict=True)
        drawn = [start + noisy[:, column].argmax(axis=-1) for start, column in each]
        return np.stack(drawn, axis=-1).reshape(-1, *self._space.shape).astype(self._space.dtype)


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
        self.offset, self.scale = offset_and_scale(space)

    def distribution(self, parameters: tf.Tensor) -> Any:
        """The distribution over actions in the environment's units: float [..., P] to [...].

        Its log-probabilities and entropies are of actions in these units, which differ from those
        here by a constant, the logarithm of the product of the scales; divergences do not differ.

        Returns:
            `kerasrl.networks.distributions.ScaledGaussian`, a `tfp.distributions.Distribution`.
        """
        # As in CategoricalActions: imported by those who use it.
        from kerasrl.networks.distributions import ScaledGaussian

        mean, log_std = tf.split(parameters, 2, axis=-1)
        return ScaledGaussian(mean, log_std, self._space)

    def log_prob(self, parameters: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        """Log-densities of actions on the scale of the bounds, in nats.

        Args:
            parameters: float, [..., P].
            action: float, [..., *shape of the space].

        Returns:
            float, [...].
        """
        return self.distribution(parameters).unit_log_prob(action)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Entropies on the scale of the bounds, in nats: float [..., P] to float [...]."""
        return self.distribution(parameters).unit_entropy()

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """The mean actions, clipped: float [B, P] to float [B, *shape of the space]."""
        mean, _ = tf.split(parameters, 2, axis=-1)
        return self._clipped(mean)

    def draw(self, parameters: tf.Tensor) -> tf.Tensor:
        """Draws actions by TensorFlow's own random numbers, clipped, of the shapes of `mode`."""
        # In float32 up to the cast, like `mode`, as TensorFlow Lite does not multiply float64: the
        # samples of `distribution` are of the dtype of the space before they could be clipped.
        mean, log_std = tf.split(parameters, 2, axis=-1)
        noise = tf.random.normal(tf.shape(mean), dtype=mean.dtype)
        return self._clipped(mean + tf.exp(log_std) * noise)

    def sample(self, parameters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws actions: float [B, P] to float [B, *shape of the space]."""
        mean, log_std = np.split(parameters, 2, axis=-1)
        drawn = mean + np.exp(log_std) * rng.standard_normal(mean.shape, np.float32)
        actions = self.offset + self.scale * drawn
        return actions.reshape(-1, *self._space.shape).astype(self._space.dtype)

    def _clipped(self, actions: tf.Tensor) -> tf.Tensor:
        space = self._space
        offset, scale = (tf.constant(x, actions.dtype) for x in (self.offset, self.scale))
        clipped = clip_to_bounds(offset + scale * actions, space.low.ravel(), space.high.ravel())
        return tf.reshape(clipped, (-1, *space.shape))


def action_distribution(space: gym.Space) -> CategoricalActions | GaussianActions:
    """The distribution that goes with a space: Gaussian for a Box, categorical for others."""
    return (
        GaussianActions(space) if isinstance(space, gym.spaces.Box) else CategoricalActions(space)
    )
