"""Returns over more than one step, for sequences that need not begin or end with an episode."""

import tensorflow as tf

from kerasrl.errors import ArgumentError


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
    returns_t = tf.scan(
        lambda return_t, step: step[0] + step[1] * return_t,
        (r_t, tf.broadcast_to(discount_t, tf.shape(r_t))),
        initializer=tf.broadcast_to(v_t, tf.shape(r_t)[1:]),
        reverse=True,
    )
    return tf.stop_gradient(returns_t)


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
    r_t = tf.convert_to_tensor(r_t)
    discount_t = tf.convert_to_tensor(discount_t)
    v_t = tf.convert_to_tensor(v_t)
    for name, x in (("discount_t", discount_t), ("v_t", v_t)):
        if not x.shape.is_compatible_with(r_t.shape):
            raise ArgumentError(
                f"n_step_bootstrapped_returns needs {name} of the shape of r_t, {r_t.shape}; "
                f"received {x.shape}."
            )
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


def _repeat_last(x: tf.Tensor, times: int) -> tf.Tensor:
    """Repeats the last step of a sequence: [T, ...] to [times, ...]."""
    return tf.repeat(x[-1:], times, axis=0)
