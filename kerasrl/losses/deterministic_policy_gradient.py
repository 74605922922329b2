"""The deterministic policy gradient."""

import tensorflow as tf

from kerasrl.errors import ArgumentError
from kerasrl.losses.checks import check_one_shape


def dpg_loss(action: tf.Tensor, dqda: tf.Tensor, clip_norm: float | None = None) -> tf.Tensor:
    """Computes a loss whose gradient with respect to `action` is `-dqda`.

    Its value, half the squared norm of `dqda`, says how steep the critic is, not how good the
    actor is.

    Args:
        action: float, [B, A]; actions of the actor.
        dqda: float, [B, A]; gradient of their values with respect to them.
        clip_norm: positive float or None; a `dqda` with a larger norm over the action dimensions
            is scaled down to it.

    Returns:
        float, [B]; the gradient reaches `action` only.

    Raises:
        ValueError: when the arguments differ in shape or `clip_norm` is not positive.

    Reference:
        Silver et al., Deterministic Policy Gradient Algorithms (2014); Lillicrap et al.,
        https://arxiv.org/abs/1509.02971 (2016), eq. 6.
    """
    if clip_norm is not None and clip_norm <= 0:
        raise ArgumentError(
            f"dpg_loss needs a positive clip_norm, or None to clip nothing; received {clip_norm}."
        )
    check_one_shape("dpg_loss", action=action, dqda=dqda)
    dqda = tf.stop_gradient(dqda)
    if clip_norm is not None:
        dqda = tf.clip_by_norm(dqda, clip_norm, axes=[-1])
    # The difference first: added to the action, a small dqda would be lost to rounding.
    step = dqda + (tf.stop_gradient(action) - action)
    return 0.5 * tf.reduce_sum(tf.square(step), axis=-1)
