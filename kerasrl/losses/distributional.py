"""Learning the distribution of returns as probabilities of fixed atoms.

References to "Bellemare et al. 2017" are to A Distributional Perspective on Reinforcement Learning,
https://arxiv.org/abs/1707.06887.
"""

import tensorflow as tf


def categorical_projection(
    probabilities: tf.Tensor, support: tf.Tensor, new_support: tf.Tensor
) -> tf.Tensor:
    """Moves the probabilities of some values to other values.

    Each goes to its two neighbours in `new_support`, to the nearer one more, so that the mean stays
    as it is; what lies outside goes to the end.

    Args:
        probabilities: float, [B, N].
        support: float, [B, N] or [N]; the values that they belong to, in any order.
        new_support: float, [M]; at least 2 values in rising order, evenly spaced or not.

    Returns:
        float, [B, M]; probabilities of `new_support`.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Bellemare et al. 2017, eq. 7; Rowland et al., An Analysis of Categorical Distributional
        Reinforcement Learning (2018), https://arxiv.org/abs/1802.08163, on uneven supports.
    """
    tf.debugging.assert_rank(probabilities, 2, "probabilities needs the shape [B, N]")
    tf.debugging.assert_rank_in(support, [1, 2], "support needs the shape [B, N] or [N]")
    tf.debugging.assert_rank(new_support, 1, "new_support needs the shape [M]")
    new_support = tf.convert_to_tensor(new_support)
    size = tf.shape(new_support)[0]
    values = tf.clip_by_value(support, new_support[0], new_support[-1])
    values = tf.broadcast_to(values, tf.shape(probabilities))  # [B, N]
    # The gap between two atoms that each value is in, by the atom below it.
    gap = tf.searchsorted(new_support, tf.reshape(values, [-1]), side="right") - 1
    gap = tf.reshape(tf.clip_by_value(gap, 0, size - 2), tf.shape(values))  # [B, N]
    below, above = tf.gather(new_support, gap), tf.gather(new_support, gap + 1)
    share = (values - below) / (above - below)  # of the atom above
    row = size * tf.range(tf.shape(values)[0])[:, tf.newaxis]
    projected = tf.math.unsorted_segment_sum(
        tf.concat([probabilities * (1.0 - share), probabilities * share], axis=-1),
        tf.concat([row + gap, row + gap + 1], axis=-1),
        size * tf.shape(values)[0],
    )
    return tf.reshape(projected, [-1, size])


def categorical_td_loss(
    logits_tm1: tf.Tensor,
    r_t: tf.Tensor,
    discount_t: tf.Tensor,
    logits_t: tf.Tensor,
    atoms: tf.Tensor,
) -> tf.Tensor:
    """Computes the cross-entropy of a distribution of returns from what it should have been.

    Args:
        logits_tm1: float, [B, N]; logits of the atoms, to be learned; for action values, those of
            the actions taken.
        r_t: float, [B]; rewards that followed.
        discount_t: float, [B]; 0 where the episode terminated.
        logits_t: float, [B, N]; logits for the observation that followed, from the target network.
        atoms: float, [N]; the returns whose probabilities are learned, in rising order.

    Returns:
        float, [B]; nats; the gradient reaches `logits_tm1` only.

    Raises:
        ValueError: when an argument has another rank than stated.

    Reference:
        Bellemare et al. 2017, algorithm 1.
    """
    for name, x in (("r_t", r_t), ("discount_t", discount_t)):
        tf.debugging.assert_rank(
            x,
            1,
            f"{name} needs the shape [B], one value per example. "
            "Drop an axis of size 1 with tf.squeeze(x, axis=-1)",
        )
    tf.debugging.assert_rank(logits_tm1, 2, "logits_tm1 needs the shape [B, N]")
    returns_t = r_t[:, tf.newaxis] + discount_t[:, tf.newaxis] * atoms  # [B, N]
    target = categorical_projection(tf.nn.softmax(logits_t), returns_t, atoms)
    return tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(target), logits_tm1)
