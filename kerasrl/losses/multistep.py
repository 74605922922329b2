"""Returns over more than one step, for sequences that need not begin or end with an episode."""

import tensorflow as tf

from kerasrl.errors import ArgumentError
from kerasrl.losses.checks import check_one_shape


def discounted_returns(r_t: tf.Tensor, discount_t: tf.Tensor, v_t: tf.Tensor) -> tf.Tensor:
    """Computes the return from every step to the end of a sequence.

    Backwards from `v_t`, the value of the observation that follows the sequence:
    `return_tm1 = r_t + discount_t * return_t`.

    Args:
        r_t: float, [T, B] or [T]; rewards.
        discount_t: float, the shape of `r_t`, or scalar; 0 where an episode terminated, so that
            nothing later counts.
        v_t: float, [B] or scalar; value of the observation that follows the last reward.

    Returns:
        float, the shape of `r_t`; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when `discount_t` or `v_t` has another rank than stated.

    Reference:
        Sutton and Barto, Reinforcement Learning: An Introduction (2nd ed., 2018), section 3.3.
    """
    r_t = tf.convert_to_tensor(r_t)
    rank = r_t.shape.rank
    tf.debugging.assert_rank_in(
        discount_t, [0, rank], "discount_t needs the shape of r_t, or none at all"
    )
    tf.debugging.assert_rank_in(
        v_t, [0, rank - 1], "v_t needs the shape of one step of r_t, or none at all"
    )
    discount_t = tf.broadcast_to(discount_t, tf.shape(r_t))
    v_t = tf.broadcast_to(v_t, tf.shape(r_t)[1:])
    return tf.stop_gradient(_accumulate(r_t, discount_t, v_t))


def lambda_returns(
    r_t: tf.Tensor, discount_t: tf.Tensor, v_t: tf.Tensor, lambda_: tf.Tensor
) -> tf.Tensor:
    """Computes the mixture of the returns over every number of steps that a sequence has.

    Backwards from the last value: `return_tm1 = r_t + discount_t * ((1 - lambda_) * v_t +
    lambda_ * return_t)`.

    Args:
        r_t: float, [T, B] or [T]; rewards.
        discount_t: float, the shape of `r_t`; 0 where an episode terminated, so that nothing
            later counts.
        v_t: float, the shape of `r_t`; values of the observations that follow the rewards.
        lambda_: float, scalar or the shape of `r_t`; from 0, the one-step return, to 1, the
            discounted return. It is 0 where an episode was truncated, so that `v_t` stands for
            what would have followed.

    Returns:
        float, the shape of `r_t`; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when `discount_t` or `v_t` has another shape than `r_t`.

    Reference:
        Sutton and Barto, Reinforcement Learning: An Introduction (2nd ed., 2018), section 12.1.
    """
    r_t, discount_t, v_t = (tf.convert_to_tensor(x) for x in (r_t, discount_t, v_t))
    check_one_shape("lambda_returns", r_t=r_t, discount_t=discount_t, v_t=v_t)
    decay_t = discount_t * tf.cast(lambda_, r_t.dtype)
    return tf.stop_gradient(_accumulate(r_t + (discount_t - decay_t) * v_t, decay_t, v_t[-1]))


def generalized_advantages(
    r_t: tf.Tensor,
    discount_t: tf.Tensor,
    v_tm1: tf.Tensor,
    v_t: tf.Tensor,
    lambda_: tf.Tensor,
    ended_t: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes the advantages of the actions of a sequence that may span several episodes.

    Backwards from 0: `advantage_tm1 = r_t + discount_t * v_t - v_tm1 + discount_t * lambda_ *
    (1 - ended_t) * advantage_t`. The targets of the values are `v_tm1 + advantage_tm1`.

    Args:
        r_t: float, [T, B] or [T]; rewards.
        discount_t: float, the shape of `r_t`; 0 where an episode terminated.
        v_tm1: float, the shape of `r_t`; values of the observations that the actions were for.
        v_t: float, the shape of `r_t`; values of the observations that followed: where an episode
            was truncated the one it ended in, not the first one of the next episode.
        lambda_: float, scalar; from 0, the TD error, to 1, the discounted return minus `v_tm1`.
        ended_t: bool or float, the shape of `r_t`; whether an episode ended there, terminated or
            truncated. None means that none was truncated.

    Returns:
        float, the shape of `r_t`; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when an argument has another shape than stated.

    Reference:
        Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage
        Estimation (2016), eq. 16, https://arxiv.org/abs/1506.02438.
    """
    r_t, discount_t, v_tm1, v_t = (tf.convert_to_tensor(x) for x in (r_t, discount_t, v_tm1, v_t))
    ended_t = tf.zeros_like(r_t) if ended_t is None else tf.cast(ended_t, r_t.dtype)
    check_one_shape(
        "generalized_advantages",
        **{"r_t": r_t, "discount_t": discount_t, "v_tm1": v_tm1, "v_t": v_t, "ended_t": ended_t},
    )
    td_error_t = r_t + discount_t * v_t - v_tm1
    decay_t = discount_t * tf.cast(lambda_, r_t.dtype) * (1 - ended_t)
    return tf.stop_gradient(_accumulate(td_error_t, decay_t, tf.zeros_like(r_t[0])))


def n_step_bootstrapped_returns(
    r_t: tf.Tensor, discount_t: tf.Tensor, v_t: tf.Tensor, n: int
) -> tf.Tensor:
    """Computes, for every step of a sequence, `n` rewards and then the value that follows them.

    Where fewer than `n` steps are left, the return is of those that are left and the last value.

    Args:
        r_t: float, [T, B] or [T]; rewards.
        discount_t: float, the shape of `r_t`; 0 where an episode terminated, so that nothing
            later counts.
        v_t: float, the shape of `r_t`; values of the observations that follow the rewards.
        n: int, steps; at least 1. The graph grows with it.

    Returns:
        float, the shape of `r_t`; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when `n` is less than 1, or `discount_t` or `v_t` has another shape than `r_t`.

    Reference:
        Sutton and Barto, Reinforcement Learning: An Introduction (2nd ed., 2018), section 7.1.
    """
    if n < 1:
        raise ArgumentError(
            f"n counts the rewards before the value and is at least 1; received {n}."
        )
    r_t, discount_t, v_t = (tf.convert_to_tensor(x) for x in (r_t, discount_t, v_t))
    check_one_shape("n_step_bootstrapped_returns", r_t=r_t, discount_t=discount_t, v_t=v_t)
    if r_t.shape[0] is not None and n >= r_t.shape[0]:
        return discounted_returns(r_t, discount_t, v_t[-1])

    # Past the end no reward comes, nothing is discounted and the last value stands. [T + n - 1]
    r_t = tf.concat([r_t, tf.zeros_like(_repeat_last(r_t, n - 1))], axis=0)
    discount_t = tf.concat([discount_t, tf.ones_like(_repeat_last(discount_t, n - 1))], axis=0)
    returns_t = tf.concat([v_t, _repeat_last(v_t, n - 1)], axis=0)[n - 1 :]  # [T]
    steps = tf.shape(v_t)[0]
    for i in reversed(range(n)):
        returns_t = r_t[i : i + steps] + discount_t[i : i + steps] * returns_t
    return tf.stop_gradient(returns_t)


def _accumulate(x_t: tf.Tensor, decay_t: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Computes `y_tm1 = x_t + decay_t * y_t` backwards from `last`: [T, ...] to [T, ...]."""
    return tf.scan(
        lambda y_t, step: step[0] + step[1] * y_t, (x_t, decay_t), initializer=last, reverse=True
    )


def _repeat_last(x: tf.Tensor, times: int) -> tf.Tensor:
    """Repeats the last step of a sequence: [T, ...] to [times, ...]."""
    return tf.repeat(x[-1:], times, axis=0)
