"""One-step temporal-difference learning: targets, errors, and the losses made of errors."""

import tensorflow as tf

from kerasrl.errors import ArgumentError


def td_target(r_t: tf.Tensor, discount_t: tf.Tensor, v_t: tf.Tensor) -> tf.Tensor:
    """Computes what a value estimate should have been: `r_t + discount_t * v_t`.

    Args:
        r_t: float, [B]; rewards that followed the actions.
        discount_t: float, [B] or scalar; 0 where the episode terminated, so that `v_t` counts
            for nothing there.
        v_t: float, [B]; value of the observation that followed.

    Returns:
        float, [B]; constant to the tape: no gradient reaches any argument.

    Raises:
        ValueError: when the arguments differ in rank, which would broadcast [B] against [B, 1].

    Reference:
        Sutton and Barto, Reinforcement Learning: An Introduction (2nd ed., 2018), section 6.1.
    """
    shapes = [tf.convert_to_tensor(x).shape for x in (r_t, discount_t, v_t)]
    if len({shape.rank for shape in shapes} - {0, None}) > 1:
        raise ArgumentError(
            "td_target needs r_t, discount_t and v_t of one shape, a value per example; received "
            f"{shapes[0]}, {shapes[1]} and {shapes[2]}. "
            "Drop an axis of size 1 with tf.squeeze(x, axis=-1)."
        )
    return tf.stop_gradient(r_t + discount_t * v_t)


def q_learning(
    q_tm1: tf.Tensor,
    a_tm1: tf.Tensor,
    r_t: tf.Tensor,
    discount_t: tf.Tensor,
    q_t: tf.Tensor,
) -> tf.Tensor:
    """Computes the TD error of Q-learning, `target - q_tm1[a_tm1]`.

    Args:
        q_tm1: float, [B, A]; action values to be learned.
        a_tm1: int32 or int64, [B]; actions taken.
        r_t: float, [B]; rewards that followed.
        discount_t: float, [B]; 0 where the episode terminated.
        q_t: float, [B, A]; action values of the observation that followed; DQN takes them from
            the target network.

    Returns:
        float, [B]; the gradient reaches `q_tm1` only, at the actions taken.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Watkins and Dayan, Q-learning (1992); Mnih et al., Human-level control through deep
        reinforcement learning (2015).
    """
    v_t = tf.reduce_max(q_t, axis=-1)  # [B]
    return td_target(r_t, discount_t, v_t) - _select(q_tm1, a_tm1)


def double_q_learning(
    q_tm1: tf.Tensor,
    a_tm1: tf.Tensor,
    r_t: tf.Tensor,
    discount_t: tf.Tensor,
    q_t: tf.Tensor,
    q_t_selector: tf.Tensor,
) -> tf.Tensor:
    """Computes the TD error of double Q-learning, `target - q_tm1[a_tm1]`.

    One estimate selects the next action and another one values it, which takes away the upward
    bias of the maximum in `q_learning`.

    Args:
        q_tm1: float, [B, A]; action values to be learned.
        a_tm1: int32 or int64, [B]; actions taken.
        r_t: float, [B]; rewards that followed.
        discount_t: float, [B]; 0 where the episode terminated.
        q_t: float, [B, A]; action values of the observation that followed, which value the
            selected action; double DQN takes them from the target network.
        q_t_selector: float, [B, A]; action values of the same observation, which select the
            action; double DQN takes them from the network that is learning.

    Returns:
        float, [B]; the gradient reaches `q_tm1` only, at the actions taken.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        van Hasselt, Guez and Silver, Deep Reinforcement Learning with Double Q-learning (2016),
        https://arxiv.org/abs/1509.06461.
    """
    v_t = _select(q_t, tf.argmax(q_t_selector, axis=-1))  # [B]
    return td_target(r_t, discount_t, v_t) - _select(q_tm1, a_tm1)


def huber(x: tf.Tensor, delta: float = 1.0) -> tf.Tensor:
    """Computes the Huber loss: quadratic up to `delta`, linear with slope `delta` beyond.

    Args:
        x: float, any shape; errors.
        delta: positive float, in the unit of `x`; the largest gradient an error can have.

    Returns:
        float, the shape of `x`.

    Reference:
        Huber, Robust Estimation of a Location Parameter (1964).
    """
    size = tf.abs(x)
    quadratic = tf.minimum(size, delta)
    return 0.5 * tf.square(quadratic) + delta * (size - quadratic)


def l2(x: tf.Tensor) -> tf.Tensor:
    """Computes half the squared error, whose gradient is the error itself.

    Args:
        x: float, any shape; errors.

    Returns:
        float, the shape of `x`.
    """
    return 0.5 * tf.square(x)


def _select(q: tf.Tensor, a: tf.Tensor) -> tf.Tensor:
    """Takes the value of one action per example: [B, A] and [B] to [B]."""
    tf.debugging.assert_rank(
        q, 2, "Action values need the shape [B, A]: a row per example, a column per action"
    )
    tf.debugging.assert_rank(
        a,
        1,
        "Actions need the shape [B], one index per example. "
        "Drop an axis of size 1 with tf.squeeze(x, axis=-1)",
    )
    # Not a product with a one-hot: a masked action may be worth -inf, and 0 * inf is NaN.
    return tf.gather(q, a, batch_dims=1)
