"""The target and the three losses of soft actor-critic.

References to "Haarnoja et al. 2018b" are to Soft Actor-Critic Algorithms and Applications,
https://arxiv.org/abs/1812.05905.
"""

import tensorflow as tf

from kerasrl.losses.td import l2, td_target


def soft_td_target(
    r_t: tf.Tensor,
    discount_t: tf.Tensor,
    q_t: tf.Tensor,
    log_prob_t: tf.Tensor,
    temperature: tf.Tensor,
) -> tf.Tensor:
    """Computes the target of the critics: a TD target whose value counts entropy as a reward.

    Args:
        r_t: float, [B]; rewards that followed the actions.
        discount_t: float, [B]; 0 where the episode terminated.
        q_t: float, [B, C]; values that C target critics give an action sampled for the
            observation that followed; the least of them counts.
        log_prob_t: float, [B]; log-probability of that action.
        temperature: float, scalar; weight of the entropy, in reward per nat.

    Returns:
        float, [B]; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Haarnoja et al. 2018b, eq. 3 and 5; the minimum is from Fujimoto et al. 2018,
        https://arxiv.org/abs/1802.09477.
    """
    v_t = _least(q_t) - temperature * log_prob_t
    return td_target(r_t, discount_t, v_t)


def sac_critic_loss(q_tm1: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Computes the loss of the critics, `0.5 * (q - target)**2` summed over them.

    The factor 0.5 follows Haarnoja et al. 2018b, eq. 5; code that leaves it out has twice this
    loss.

    Args:
        q_tm1: float, [B, C]; values that C critics give the actions taken.
        target: float, [B]; from `soft_td_target`; the same for every critic.

    Returns:
        float, [B]; the gradient reaches `q_tm1` only.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Haarnoja et al. 2018b, eq. 5.
    """
    _check_critics(q_tm1)
    _check_examples(target, "target")
    errors = q_tm1 - tf.stop_gradient(target)[:, tf.newaxis]  # [B, C]
    return tf.reduce_sum(l2(errors), axis=-1)


def sac_actor_loss(q: tf.Tensor, log_prob: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
    """Computes the loss of the actor, `temperature * log_prob - min(q)`.

    Args:
        q: float, [B, C]; values that C critics give a reparametrised sample of the actor; the
            least of them counts.
        log_prob: float, [B]; log-probability of that sample.
        temperature: float, scalar; weight of the entropy, in reward per nat.

    Returns:
        float, [B]; the gradient reaches `q` and `log_prob`, not `temperature`.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Haarnoja et al. 2018b, eq. 7.
    """
    _check_examples(log_prob, "log_prob")
    return tf.stop_gradient(temperature) * log_prob - _least(q)


def sac_temperature_loss(
    log_temperature: tf.Tensor, log_prob: tf.Tensor, target_entropy: float
) -> tf.Tensor:
    """Computes the loss that moves the entropy of the actor to `target_entropy`.

    The paper's loss is `-temperature * (log_prob + target_entropy)`. Here, as is common practice,
    the logarithm stands in the place of the temperature: the temperature stays positive, the
    gradient has the same sign, and its size does not shrink with the temperature.

    Args:
        log_temperature: float, scalar; the variable to be learned.
        log_prob: float, [B]; log-probability of actions sampled from the actor.
        target_entropy: float, nats; commonly minus the number of action dimensions.

    Returns:
        float, [B]; the gradient reaches `log_temperature` only.

    Reference:
        Haarnoja et al. 2018b, eq. 18.
    """
    return -log_temperature * tf.stop_gradient(log_prob + target_entropy)


def _least(q: tf.Tensor) -> tf.Tensor:
    """Takes the lowest value that any critic gives: [B, C] to [B]."""
    _check_critics(q)
    return tf.reduce_min(q, axis=-1)


def _check_critics(q: tf.Tensor) -> None:
    tf.debugging.assert_rank(
        q, 2, "The critics' values need the shape [B, C]: tf.stack([q_1, q_2], axis=-1)"
    )


def _check_examples(x: tf.Tensor, name: str) -> None:
    tf.debugging.assert_rank(
        x,
        1,
        f"{name} needs the shape [B], one value per example. "
        "Drop an axis of size 1 with tf.squeeze(x, axis=-1)",
    )
