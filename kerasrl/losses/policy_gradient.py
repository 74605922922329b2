"""The policy gradient, and what proximal policy optimisation makes of it.

References to "Schulman et al. 2017" are to Proximal Policy Optimization Algorithms,
https://arxiv.org/abs/1707.06347. The behaviour policy is the one that acted.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.losses.checks import check_one_shape
from kerasrl.losses.td import l2

_MARGIN = 3.0  # So that a few values can be added up.


def policy_gradient_loss(log_prob: tf.Tensor, advantage: tf.Tensor) -> tf.Tensor:
    """Computes the loss of REINFORCE and of actor-critic, `-log_prob * advantage`.

    Args:
        log_prob: float, [B]; log-probability of the actions taken.
        advantage: float, [B]; how much better than expected they were, or their return.

    Returns:
        float, [B]; the gradient reaches `log_prob` only.

    Raises:
        ValueError: when the arguments differ in shape.

    Reference:
        Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning (1992).
    """
    check_one_shape("policy_gradient_loss", log_prob=log_prob, advantage=advantage)
    return -log_prob * tf.stop_gradient(advantage)


def clipped_surrogate_loss(
    log_prob: tf.Tensor,
    behaviour_log_prob: tf.Tensor,
    advantage: tf.Tensor,
    clip_range: tf.Tensor,
) -> tf.Tensor:
    """Computes the loss of the policy in PPO, which gains nothing by a far change of it.

    Args:
        log_prob: float, [B]; log-probability of the actions taken, under the policy to be learned.
        behaviour_log_prob: float, [B]; the same under the behaviour policy.
        advantage: float, [B]; how much better than expected the actions were.
        clip_range: float, scalar; how far from 1 the ratio of the two probabilities is worth
            moving.

    Returns:
        float, [B]; the gradient reaches `log_prob` only, and not where the ratio has moved far
        enough in the direction that the advantage favours. A ratio that floats have no room for
        counts as about the largest one.

    Raises:
        ValueError: when `log_prob`, `behaviour_log_prob` and `advantage` differ in shape.

    Reference:
        Schulman et al. 2017, eq. 7, with its sign turned.
    """
    check_one_shape(
        "clipped_surrogate_loss",
        log_prob=log_prob,
        behaviour_log_prob=behaviour_log_prob,
        advantage=advantage,
    )
    advantage = tf.stop_gradient(advantage)
    room = tf.math.log(tf.maximum(tf.abs(advantage), 1.0))  # For the product of the two.
    ratio = tf.exp(_bounded(log_prob - tf.stop_gradient(behaviour_log_prob), room))
    clip_range = tf.stop_gradient(tf.cast(clip_range, ratio.dtype))
    clipped_ratio = tf.clip_by_value(ratio, 1.0 - clip_range, 1.0 + clip_range)
    return -tf.minimum(ratio * advantage, clipped_ratio * advantage)


def clipped_value_loss(
    v: tf.Tensor, behaviour_v: tf.Tensor, target: tf.Tensor, clip_range: tf.Tensor
) -> tf.Tensor:
    """Computes the loss of the values in PPO, which gain nothing by a far change either.

    It is half the squared error of `v`, or of `v` clipped to `clip_range` around `behaviour_v`,
    whichever is larger. The paper does not clip values; its authors' code does.

    Args:
        v: float, [B]; values to be learned.
        behaviour_v: float, [B]; the same values when the behaviour policy acted.
        target: float, [B]; what they should have been.
        clip_range: float, scalar; how far from `behaviour_v` they are worth moving, in the unit
            of the values.

    Returns:
        float, [B]; the gradient reaches `v` only, and not where it has moved far enough towards
        `target`.

    Raises:
        ValueError: when `v`, `behaviour_v` and `target` differ in shape.

    Reference:
        Engstrom et al., Implementation Matters in Deep Policy Gradients (2020), section 3,
        https://arxiv.org/abs/2005.12729.
    """
    check_one_shape("clipped_value_loss", v=v, behaviour_v=behaviour_v, target=target)
    target = tf.stop_gradient(target)
    behaviour_v = tf.stop_gradient(behaviour_v)
    clip_range = tf.stop_gradient(tf.cast(clip_range, behaviour_v.dtype))
    clipped_v = tf.clip_by_value(v, behaviour_v - clip_range, behaviour_v + clip_range)
    return tf.maximum(l2(v - target), l2(clipped_v - target))


def approximate_kl(log_prob: tf.Tensor, behaviour_log_prob: tf.Tensor) -> tf.Tensor:
    """Estimates how far the policy has moved from the behaviour policy.

    The mean over actions of the behaviour policy is an unbiased estimate of its KL divergence
    from the policy, `KL(behaviour || policy)`, and no single value of it is negative.

    Args:
        log_prob: float, [B]; log-probability of the actions taken, under the policy to be learned.
        behaviour_log_prob: float, [B]; the same under the behaviour policy.

    Returns:
        float, [B]; nats; the gradient reaches `log_prob` only. A ratio that floats have no room for
        counts as about the largest one.

    Raises:
        ValueError: when the arguments differ in shape.

    Reference:
        Schulman, Approximating KL Divergence (2020), http://joschu.net/blog/kl-approx.html, k3.
    """
    check_one_shape("approximate_kl", log_prob=log_prob, behaviour_log_prob=behaviour_log_prob)
    log_ratio = _bounded(log_prob - tf.stop_gradient(behaviour_log_prob))
    return tf.math.expm1(log_ratio) - log_ratio


def _bounded(log_ratio: tf.Tensor, room: Any = 0.0) -> tf.Tensor:
    """Bounds logarithms so that their exponentials, times `exp(room)`, stay finite.

    The gradient passes as if there were no bound: what has moved too far is still pushed back.
    """
    largest = np.log(log_ratio.dtype.max) - _MARGIN

    @tf.custom_gradient
    def bounded(log_ratio: tf.Tensor) -> Any:
        bound = tf.cast(largest - room, log_ratio.dtype)
        return tf.minimum(log_ratio, bound), lambda upstream: upstream

    return bounded(log_ratio)
