"""The distributions over the actions of a Box: Gaussian, and Gaussian before tanh."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.networks.action_numbers import offset_and_scale
from kerasrl.networks.distributions.action_distribution import ActionDistribution, check_spaces
from kerasrl.networks.tanh_gaussian import tanh_log_density, tanh_log_slope

tfd: Any = tfp.distributions

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
# Deviations from a mean, and what a standard normal has there: a rule for integrals. It is right to
# 1e-5 nats for deviations up to exp(2) before tanh, and to 4e-3 up to exp(3).
_NODES = np.linspace(-8.0, 8.0, 129, dtype=np.float32)
_NODE_WEIGHTS = np.exp(-0.5 * np.square(_NODES)) / np.exp(-0.5 * np.square(_NODES)).sum()


class _Gaussian(ActionDistribution):
    """A Gaussian on the scale of the bounds, or before tanh, of which actions are made."""

    def __init__(self, loc: tf.Tensor, log_std: tf.Tensor, space: Any, name: str | None = None):
        parameters = dict(locals())
        self.loc = tf.convert_to_tensor(loc)
        self.log_std = tf.convert_to_tensor(log_std)
        self.offset, self.scale = offset_and_scale(space)
        self._log_volume = float(np.log(self.scale[self.scale > 0]).sum())
        # What a float64 says beyond a float32 may be all of it, as in Box(1e9, 1e9 + 1).
        self._wide = tf.float64 if space.dtype == np.float64 else self.loc.dtype
        super().__init__(space, True, parameters, name or type(self).__name__)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        return {
            "loc": tfp.util.ParameterProperties(event_ndims=1),
            "log_std": tfp.util.ParameterProperties(event_ndims=1),
        }

    def _draw(self, n: Any, seed: Any) -> tf.Tensor:
        """Draws numbers `[n, ..., A]` from the Gaussian."""
        return tfd.Normal(self.loc, tf.exp(self.log_std)).sample(n, seed=seed)

    def _from_unit(self, numbers: tf.Tensor) -> tf.Tensor:
        offset, scale = (tf.constant(x, self._wide) for x in (self.offset, self.scale))
        return offset + scale * tf.cast(numbers, self._wide)

    def _to_unit(self, action: tf.Tensor) -> tf.Tensor:
        """Puts actions on the scale of the bounds, `[..., A]`; constant numbers become 0."""
        offset, scale = (tf.constant(x, self._wide) for x in (self.offset, self.scale))
        unit = tf.math.divide_no_nan(tf.cast(self._numbers(action), self._wide) - offset, scale)
        return tf.cast(unit, self.loc.dtype)

    def _entropy_of_numbers(self) -> tf.Tensor:
        """Entropies of the Gaussians of all numbers, `[..., A]`."""
        # `tfd.Normal` takes the logarithm of the deviation, which is infinite below exp(-104).
        return self.log_std + 0.5 + _HALF_LOG_2PI

    def _sum(self, of_numbers: tf.Tensor) -> tf.Tensor:
        """Sums over the numbers of an action but for constant ones, `[..., A]` to `[...]`."""
        if self.scale.all():
            return tf.reduce_sum(of_numbers, axis=-1)
        varies = tf.constant(self.scale > 0)
        return tf.reduce_sum(tf.where(varies, of_numbers, tf.zeros_like(of_numbers)), axis=-1)


class ScaledGaussian(_Gaussian):
    """Independent Gaussians, one for each number of an action.

    What is drawn may lie beyond the bounds of the space, and so may the mode, the mean: they are
    not clipped, so that they have a density. A number that is constant always has its value, and
    adds nothing to log-probabilities, entropies and divergences.

    Densities are those of actions in the environment's units. `unit_log_prob` and `unit_entropy`
    are on the scale of the bounds instead, as losses have them, so that they are worth the same
    whatever the bounds.

    Args:
        loc: float, [..., A], the means on the scale of the bounds, see `GaussianActions`.
        log_std: float, [..., A], the logarithms of the standard deviations on that scale.
        space: `gymnasium.spaces.Box` of floats.
        name: str.
    """

    def unit_log_prob(self, action: tf.Tensor) -> tf.Tensor:
        """Log-densities on the scale of the bounds: actions `[..., *shape]` to nats `[...]`."""
        error = self._to_unit(action) - self.loc
        # `tfd.Normal` subtracts x / std and mean / std, which are large numbers: for means in
        # [-1, 1] it is off by 0.005 nats at a deviation of exp(-10), and by 6 at exp(-20). This is
        # off by 2e-6 nats at either.
        log_density = -0.5 * tf.square(error * tf.exp(-self.log_std)) - self.log_std
        return self._sum(log_density - _HALF_LOG_2PI)

    def unit_entropy(self) -> tf.Tensor:
        """Entropies on the scale of the bounds, in nats, `[...]`."""
        return self._sum(self._entropy_of_numbers())

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self._shaped(self._from_unit(self._draw(n, seed)))

    def _log_prob(self, action: tf.Tensor) -> tf.Tensor:
        return self.unit_log_prob(action) - self._log_volume

    def _entropy(self) -> tf.Tensor:
        return self.unit_entropy() + self._log_volume

    def _mode(self) -> tf.Tensor:
        return self._shaped(self._from_unit(self.loc))


class SquashedGaussian(_Gaussian):
    """Independent Gaussians squashed by tanh and scaled to the bounds of the space.

    - `log_prob` of an action at a bound is that of the nearest one within, as float32 has it: what
      is drawn far out is rounded to the bound, where the density is of no use.
      `experimental_sample_and_log_prob` has the log-probabilities of what it draws from before it
      was rounded; so have the losses.
    - `mode` is the mean before tanh, squashed, which SAC takes for its greedy action. The density
      is highest elsewhere, for large deviations at the bounds.
    - `entropy` has no closed form. It is integrated numerically, to 1e-5 nats for deviations before
      tanh up to exp(2), the largest of SAC, and to 4e-3 up to exp(3).
    - The divergence is that of the Gaussians before tanh, as squashing both alike does not change
      it.

    A number that is constant always has its value, and adds nothing to log-probabilities, entropies
    and divergences.

    Args:
        loc: float, [..., A], the means before tanh.
        log_std: float, [..., A], the logarithms of the standard deviations before tanh.
        space: bounded `gymnasium.spaces.Box` of floats.
        name: str.

    Reference:
        Haarnoja et al., Soft Actor-Critic (2018), appendix C, https://arxiv.org/abs/1801.01290.
    """

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        return self._squashed(self._draw(n, seed))

    def _sample_and_log_prob(self, sample_shape: Any, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
        noise = tfd.Normal(tf.zeros_like(self.loc), 1.0).sample(sample_shape, seed=seed)
        pre_tanh = self.loc + tf.exp(self.log_std) * noise
        return self._squashed(pre_tanh), self._log_density(noise, pre_tanh)

    def _log_prob(self, action: tf.Tensor) -> tf.Tensor:
        # The inverse of `tfb.Tanh` is infinite at 1, which float32 makes of tanh(9.02), so that
        # `tfd.TransformedDistribution` has NaN for its log-probability.
        number = self.loc.dtype.as_numpy_dtype
        nearly_one = np.nextafter(number(1), number(0))
        unit = tf.clip_by_value(self._to_unit(action), -nearly_one, nearly_one)
        pre_tanh = tf.atanh(unit)
        return self._log_density((pre_tanh - self.loc) * tf.exp(-self.log_std), pre_tanh)

    def _entropy(self) -> tf.Tensor:
        shape = (-1, *[1] * self.loc.shape.rank)
        nodes, weights = (
            tf.reshape(tf.constant(x, self.loc.dtype), shape) for x in (_NODES, _NODE_WEIGHTS)
        )
        log_slopes = tanh_log_slope(self.loc + tf.exp(self.log_std) * nodes)
        mean_log_slope = tf.reduce_sum(weights * log_slopes, axis=0)
        return self._sum(self._entropy_of_numbers() + mean_log_slope) + self._log_volume

    def _mode(self) -> tf.Tensor:
        return self._squashed(self.loc)

    def _squashed(self, pre_tanh: tf.Tensor) -> tf.Tensor:
        low, high = (tf.constant(x.ravel(), self._wide) for x in (self.space.low, self.space.high))
        # A space refuses what lies beyond a bound, be it by rounding only.
        return self._shaped(tf.clip_by_value(self._from_unit(tf.tanh(pre_tanh)), low, high))

    def _log_density(self, noise: tf.Tensor, pre_tanh: tf.Tensor) -> tf.Tensor:
        """Log-densities in the environment's units, `[..., A]` to `[...]`."""
        log_density = tanh_log_density(noise, self.log_std, pre_tanh)
        return self._sum(log_density) - self._log_volume


@tfd.RegisterKL(ScaledGaussian, ScaledGaussian)
@tfd.RegisterKL(SquashedGaussian, SquashedGaussian)
def _kl_of_gaussians(one: _Gaussian, other: _Gaussian, name: Any = None) -> tf.Tensor:
    check_spaces(one, other)
    with tf.name_scope(name or "kl_of_gaussians"):
        # That of `tfd.Normal` is off by 6e-4 nats at a deviation of exp(-10), and by 0.3 at
        # exp(-20), for the reason that its log-probabilities are. This is off by 2e-8.
        distance = (one.loc - other.loc) * tf.exp(-other.log_std)
        log_ratio = one.log_std - other.log_std
        kl = 0.5 * tf.square(distance) + 0.5 * tf.math.expm1(2.0 * log_ratio) - log_ratio
        return one._sum(kl)
