import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import (
    approximate_kl,
    clipped_surrogate_loss,
    clipped_value_loss,
    policy_gradient_loss,
)


def gradients(function, *args):
    args = [tf.convert_to_tensor(x) for x in args]
    with tf.GradientTape() as tape:
        tape.watch(args)
        y = function(*args)
    return tape.gradient(y, args)


def random_batch(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=0.5, size=(3, 64)).astype(np.float32)


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


# rlax policy_gradients_test.py.
LOGITS = np.float32([[1, 1, 1], [2, 0, 0], [-1, -2, -3]])
OLD_LOGITS = np.float32([[1, 1, 1], [2, 0, 0], [-3, -2, -1]])
ADVANTAGES = np.float32([0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("actions", "sign", "weights", "expected"),
    [
        ([0, 1, 2], 1, [-2, 2, 0], 0.0788835088),
        ([0, 0, 0], -1, [-3, 1, -1], 0.327200909),
    ],
)
def test_policy_gradient_loss_matches_rlax(mode, actions, sign, weights, expected):
    # PolicyGradientLossTest; its weights are left to the caller here.
    log_prob = log_softmax(LOGITS)[range(3), actions]
    loss = mode(policy_gradient_loss)(log_prob, sign * ADVANTAGES)
    np.testing.assert_allclose(np.mean(loss * np.float32(weights)), expected, atol=1e-6)


@pytest.mark.parametrize(("sign", "expected"), [(1, -0.17117467), (-1, 0.19333333)])
def test_clipped_surrogate_loss_matches_rlax(mode, sign, expected):
    # ClippedSurrogatePGLossTest.
    log_prob, old = (log_softmax(x)[range(3), range(3)] for x in (LOGITS, OLD_LOGITS))
    loss = mode(clipped_surrogate_loss)(log_prob, old, sign * ADVANTAGES, 0.2)
    np.testing.assert_allclose(np.mean(loss), expected, rtol=1e-4)


def test_clipped_surrogate_loss_matches_tf_agents(mode):
    # ppo_agent_test.py, testPolicyGradientLoss: a Gaussian whose mean and standard deviation are
    # observation @ [[2, 1], [1, 1]] + 5, the actions 0 and 1, and a clip range of 10.
    mean, std = (np.float32([[1, 2], [3, 4]]) @ np.float32([[2, 1], [1, 1]]) + 5).T
    z = (np.float32([0, 1]) - mean) / std
    log_prob = -0.5 * z**2 - np.log(std) - np.float32(0.5 * np.log(2 * np.pi))
    loss = mode(clipped_surrogate_loss)(
        log_prob, np.float32([0.9, 0.3]), np.float32([1.9, 1.0]), 10.0
    )
    np.testing.assert_allclose(np.mean(loss), -0.0164646133, rtol=1e-5)


def test_clipped_value_loss_matches_tf_agents(mode):
    # testValueEstimationLoss, which clips nothing and has no factor 0.5: the values are
    # observation @ [2, 1] + 5.
    v, target = np.float32([9, 15]), np.float32([1.9, 1.0])
    loss = mode(clipped_value_loss)(v, v, target, 1e6)
    np.testing.assert_allclose(2 * np.mean(loss), 123.205, rtol=1e-6)


def test_clipped_surrogate_loss_by_hand(mode):
    # Ratios of 1.5, 0.5 and 1.1, clipped to 1.2 and 0.8, first with a good and then a bad action.
    log_ratio = np.log(np.float32([1.5, 0.5, 1.1] * 2))
    advantage = np.float32([2, 2, 2, -2, -2, -2])
    loss, gradient = mode(
        lambda x, a: (
            clipped_surrogate_loss(x, tf.zeros_like(x), a, 0.2),
            gradients(lambda x: clipped_surrogate_loss(x, tf.zeros_like(x), a, 0.2), x)[0],
        )
    )(log_ratio, advantage)
    np.testing.assert_allclose(loss, [-2.4, -1, -2.2, 3, 1.6, 2.2], rtol=1e-5)
    # Where it is clipped nothing more is to be gained; elsewhere -ratio * advantage.
    np.testing.assert_allclose(gradient, [0, -1, -2.2, 3, 0, 2.2], rtol=1e-5)


def with_gradient(function, log_ratio, *arguments):
    """The value, and the gradient by the logarithm of the ratio."""

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x, tf.zeros_like(x), *arguments)
        return value, tape.gradient(value, x)

    return run(tf.constant(log_ratio))


FAR = np.float32([88.8, 90, 1e3, 1e30, np.inf])


@pytest.mark.regression(32)
@pytest.mark.parametrize("advantage", [1e-3, 1.0, 1e4, 0.0, -1e-3, -1.0, -1e4])
def test_clipped_surrogate_loss_of_ratios_beyond_floats(mode, advantage):
    advantages = np.full(5, advantage, np.float32)
    loss, gradient = mode(lambda: with_gradient(clipped_surrogate_loss, FAR, advantages, 0.2))()
    if advantage >= 0:  # Clipped.
        np.testing.assert_allclose(loss, -1.2 * advantages, rtol=1e-6)
        np.testing.assert_array_equal(gradient, np.zeros(5))
    else:  # Pushed back, as far as floats go.
        for values in (loss, gradient):
            assert np.isfinite(values).all() and (np.asarray(values) > 1e30).all()
    loss, gradient = mode(lambda: with_gradient(clipped_surrogate_loss, -FAR, advantages, 0.2))()
    np.testing.assert_allclose(loss, -0.8 * np.minimum(advantages, 0), rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.zeros(5))


@pytest.mark.regression(32)
def test_the_bound_of_ratios_changes_nothing_where_floats_have_room(mode):
    log_ratio = np.linspace(-80, 80, 321, dtype=np.float32)
    ratio = np.exp(log_ratio.astype(np.float64))
    for advantage in (1.5, -1.5, -40.0):
        advantages = np.full(321, advantage, np.float32)
        loss, gradient = mode(
            lambda a=advantages: with_gradient(clipped_surrogate_loss, log_ratio, a, 0.2)
        )()
        clipped = np.clip(ratio, 0.8, 1.2)
        expected = -np.minimum(ratio * advantage, clipped * advantage)
        np.testing.assert_allclose(loss, expected, rtol=2e-5)
        held = ratio * advantage > clipped * advantage
        np.testing.assert_allclose(gradient, np.where(held, 0, -ratio * advantage), rtol=2e-5)


@pytest.mark.regression(32)
def test_approximate_kl_of_ratios_beyond_floats(mode):
    kl, gradient = mode(lambda: with_gradient(approximate_kl, FAR))()
    for values in (kl, gradient):
        assert np.isfinite(values).all() and (np.asarray(values) > 1e30).all()


def test_clipped_value_loss_by_hand(mode):
    # Values that were 0 and are worth 10: 1 may gain more, 3 has come far enough, -3 has gone the
    # wrong way, and 12 is beyond the target: the value clipped to 2 is further from it.
    v = np.float32([1, 3, -3, 12])
    zeros, tens = np.zeros(4, np.float32), np.full(4, 10, np.float32)
    loss, gradient = mode(
        lambda v: (
            clipped_value_loss(v, zeros, tens, 2.0),
            gradients(lambda v: clipped_value_loss(v, zeros, tens, 2.0), v)[0],
        )
    )(v)
    np.testing.assert_allclose(loss, [40.5, 32, 84.5, 32])
    np.testing.assert_allclose(gradient, [-9, 0, -13, 0])


def test_losses_match_numpy(mode):
    log_prob, old, advantage = random_batch()
    ratio = np.exp(log_prob - old)
    np.testing.assert_allclose(
        mode(policy_gradient_loss)(log_prob, advantage), -log_prob * advantage, rtol=1e-6
    )
    objective = np.minimum(ratio * advantage, np.clip(ratio, 0.9, 1.1) * advantage)
    np.testing.assert_allclose(
        mode(clipped_surrogate_loss)(log_prob, old, advantage, 0.1), -objective, rtol=1e-5
    )
    v, old_v, target = random_batch(seed=1)
    squares = [(v - target) ** 2, (old_v + np.clip(v - old_v, -0.3, 0.3) - target) ** 2]
    np.testing.assert_allclose(
        mode(clipped_value_loss)(v, old_v, target, 0.3), np.max(squares, axis=0) / 2, atol=1e-6
    )
    np.testing.assert_allclose(
        mode(approximate_kl)(log_prob, old), ratio - 1 - np.log(ratio), atol=1e-6
    )


@pytest.mark.parametrize("loss", [clipped_surrogate_loss, clipped_value_loss])
def test_the_clip_range_may_be_a_tensor(mode, loss):
    batch = random_batch()
    np.testing.assert_array_equal(
        mode(loss)(*batch, tf.constant(0.1)), mode(loss)(*batch, np.float32(0.1))
    )


def test_the_mean_of_the_approximate_kl_is_the_kl(mode):
    rng = np.random.default_rng(0)
    behaviour, policy = np.float32([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]])
    actions = rng.choice(3, p=behaviour.astype(np.float64) / behaviour.sum(), size=200_000)
    estimate = mode(approximate_kl)(np.log(policy)[actions], np.log(behaviour)[actions])
    assert np.min(estimate) >= 0
    exact = np.sum(behaviour * np.log(behaviour / policy))
    np.testing.assert_allclose(np.mean(estimate), exact, atol=2e-3)


def test_the_approximate_kl_of_the_same_policy_is_zero(mode):
    log_prob, _, _ = random_batch()
    np.testing.assert_array_equal(mode(approximate_kl)(log_prob, log_prob), np.zeros(64))


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (policy_gradient_loss, random_batch()[:2]),
        (clipped_surrogate_loss, (*random_batch(), np.float32(0.2))),
        (clipped_value_loss, (*random_batch(), np.float32(0.2))),
        (approximate_kl, random_batch()[:2]),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_no_other_gradients(mode, loss, args):
    first, *others = mode(lambda *args: gradients(loss, *args))(*args)
    assert np.any(first)
    assert others == [None] * len(others)


B = np.ones([3], np.float32)
COLUMN = np.ones([3, 1], np.float32)


@pytest.mark.parametrize(
    ("loss", "args", "name"),
    [
        (policy_gradient_loss, (B, COLUMN), "advantage"),
        (clipped_surrogate_loss, (B, COLUMN, B, 0.2), "behaviour_log_prob"),
        (clipped_surrogate_loss, (B, B, COLUMN, 0.2), "advantage"),
        (clipped_value_loss, (B, COLUMN, B, 0.2), "behaviour_v"),
        (clipped_value_loss, (COLUMN, COLUMN, B, 0.2), "target"),
        (approximate_kl, (B, COLUMN), "behaviour_log_prob"),
    ],
)
def test_an_axis_too_many_is_refused(mode, loss, args, name):
    with pytest.raises(ValueError, match=f"{loss.__name__} needs {name} of the shape.*tf.squeeze"):
        mode(loss)(*args)
