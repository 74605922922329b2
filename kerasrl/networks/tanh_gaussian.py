"""A diagonal Gaussian squashed by tanh to (-1, 1), as pure functions."""

import math

import tensorflow as tf

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


def tanh_gaussian_sample(
    mean: tf.Tensor, log_std: tf.Tensor, noise: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns standard normal noise into an action and its log-probability.

    Both are differentiable in `mean` and `log_std`: the reparametrisation that soft actor-critic
    needs. For the greedy action take `tf.tanh(mean)`.

    Args:
        mean: float, [B, A]; mean before tanh.
        log_std: float, [B, A]; logarithm of the standard deviation before tanh.
        noise: float, [B, A]; a standard normal sample.

    Returns:
        The action, float, [B, A], in (-1, 1) up to rounding: far out, float32 gives exactly 1.
        Its log-probability, float, [B], in nats, finite there too.

    Reference:
        Haarnoja et al., Soft Actor-Critic (2018), appendix C, https://arxiv.org/abs/1801.01290.
    """
    pre_tanh = mean + tf.exp(log_std) * noise
    # From the noise itself: (pre_tanh - mean) / std loses it when the deviation is small.
    return tf.tanh(pre_tanh), _log_prob(noise, log_std, pre_tanh)


def tanh_gaussian_log_prob(mean: tf.Tensor, log_std: tf.Tensor, pre_tanh: tf.Tensor) -> tf.Tensor:
    """Computes the log-probability of the action `tf.tanh(pre_tanh)`.

    The action itself would not do: rounding has lost what the log-probability depends on.

    Args:
        mean: float, [B, A]; mean before tanh.
        log_std: float, [B, A]; logarithm of the standard deviation before tanh.
        pre_tanh: float, [B, A]; the action before tanh.

    Returns:
        float, [B]; nats.

    Reference:
        Haarnoja et al., Soft Actor-Critic (2018), appendix C, https://arxiv.org/abs/1801.01290.
    """
    return _log_prob((pre_tanh - mean) * tf.exp(-log_std), log_std, pre_tanh)


def _log_prob(noise: tf.Tensor, log_std: tf.Tensor, pre_tanh: tf.Tensor) -> tf.Tensor:
    """Sums the log-densities of independent action dimensions: [B, A] to [B]."""
    gaussian = -0.5 * tf.square(noise) - log_std - _LOG_SQRT_2PI
    # log(1 - tanh(x)**2), without the subtraction that leaves log(0) far out.
    log_slope = 2.0 * (math.log(2.0) - pre_tanh - tf.math.softplus(-2.0 * pre_tanh))
    return tf.reduce_sum(gaussian - log_slope, axis=-1)
