import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import (
    sac_actor_loss,
    sac_critic_loss,
    sac_temperature_loss,
    soft_td_target,
)


def gradients(function, *args):
    args = [tf.convert_to_tensor(x) for x in args]
    with tf.GradientTape() as tape:
        tape.watch(args)
        y = function(*args)
    return tape.gradient(y, args)


def random_batch():
    rng = np.random.default_rng(0)
    r_t, log_prob = rng.normal(size=(2, 32)).astype(np.float32)
    discount_t = rng.choice(np.float32([0, 0.99]), size=32)
    q = rng.normal(size=(32, 3)).astype(np.float32)
    return r_t, discount_t, q, log_prob


# tf_agents sac_agent_test.py: the critics are observation[1] + action, the actor always plays 1
# with a log-probability of 10, and the temperature is 1.
LOG_PROB = np.float32([10, 10])
ONE = np.float32(1)


def twice(q):
    return np.stack([np.float32(q)] * 2, axis=-1)


def test_soft_td_target_matches_tf_agents(mode):
    # testCriticLoss: the next values are 6 + 1 and 8 + 1.
    rewards, discounts = np.float32([10, 20]), np.float32([0.9, 0.9])
    target = mode(soft_td_target)(rewards, discounts, twice([7, 9]), LOG_PROB, ONE)
    np.testing.assert_allclose(target, [7.3, 19.1], rtol=1e-6)


def test_critic_loss_matches_tf_agents(mode):
    # testCriticLoss: the values are 2 + 5 and 4 + 6; the expected loss is twice, for two critics,
    # the mean squared error. Ours has the paper's factor 0.5, theirs has not: hence 0.5 * 82.9.
    loss = mode(sac_critic_loss)(twice([7, 10]), np.float32([7.3, 19.1]))
    tf_agents_loss = 2 * ((7.3 - 7) ** 2 + (19.1 - 10) ** 2) / 2
    np.testing.assert_allclose(np.mean(loss), 0.5 * tf_agents_loss, rtol=1e-5)
    np.testing.assert_allclose(loss, [0.09, 82.81], rtol=1e-4)


def test_actor_loss_matches_tf_agents(mode):
    # testActorLoss: (2 * 10 - (2 + 1) - (4 + 1)) / 2.
    loss = mode(sac_actor_loss)(twice([3, 5]), LOG_PROB, ONE)
    np.testing.assert_allclose(loss, [7.0, 5.0])
    np.testing.assert_allclose(np.mean(loss), 6.0)


def test_temperature_loss_matches_tf_agents(mode):
    # testAlphaLoss: 4 * (-10 - 3), log_alpha being 4 and the target entropy 3.
    loss = mode(sac_temperature_loss)(np.float32(4), LOG_PROB, 3.0)
    np.testing.assert_allclose(loss, [-52.0, -52.0])


def test_soft_td_target_matches_numpy(mode):
    r_t, discount_t, q_t, log_prob_t = random_batch()
    target = mode(soft_td_target)(r_t, discount_t, q_t, log_prob_t, np.float32(0.2))
    expected = r_t + discount_t * (q_t.min(axis=1) - 0.2 * log_prob_t)
    np.testing.assert_allclose(target, expected, atol=1e-6)


def test_critic_loss_matches_numpy(mode):
    target, _, q_tm1, _ = random_batch()
    loss = mode(sac_critic_loss)(q_tm1, target)
    expected = (0.5 * (q_tm1 - target[:, np.newaxis]) ** 2).sum(axis=1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_actor_loss_matches_numpy(mode):
    _, _, q, log_prob = random_batch()
    loss = mode(sac_actor_loss)(q, log_prob, np.float32(0.2))
    np.testing.assert_allclose(loss, 0.2 * log_prob - q.min(axis=1), atol=1e-6)


def test_temperature_loss_matches_numpy(mode):
    _, _, _, log_prob = random_batch()
    loss = mode(sac_temperature_loss)(np.float32(-1.5), log_prob, -6.0)
    np.testing.assert_allclose(loss, 1.5 * (log_prob - 6), rtol=1e-5)


def test_soft_td_target_stops_every_gradient(mode):
    grads = mode(lambda *args: gradients(soft_td_target, *args))(*random_batch(), ONE)
    assert grads == [None] * 5


def test_critic_loss_passes_the_error_to_every_critic_and_nothing_to_the_target(mode):
    target, _, q_tm1, _ = random_batch()
    q_gradient, target_gradient = mode(lambda *args: gradients(sac_critic_loss, *args))(
        q_tm1, target
    )
    np.testing.assert_allclose(q_gradient, q_tm1 - target[:, np.newaxis], rtol=1e-6)
    assert target_gradient is None


def test_actor_loss_passes_gradients_to_the_least_value_and_the_log_prob_only(mode):
    q = np.float32([[1, 2, 3], [6, 5, 4]])
    q_gradient, log_prob_gradient, temperature_gradient = mode(
        lambda *args: gradients(sac_actor_loss, *args)
    )(q, LOG_PROB, np.float32(0.2))
    np.testing.assert_array_equal(q_gradient, [[-1, 0, 0], [0, 0, -1]])
    np.testing.assert_allclose(log_prob_gradient, [0.2, 0.2])
    assert temperature_gradient is None


@pytest.mark.parametrize(("entropy", "rises"), [(-2.0, True), (0.0, False)])
def test_temperature_rises_when_the_entropy_is_below_its_target(mode, entropy, rises):
    log_prob = np.full([4], -entropy, np.float32)

    def loss(log_temperature, log_prob, target_entropy):
        return tf.reduce_mean(sac_temperature_loss(log_temperature, log_prob, target_entropy))

    log_temperature_gradient, *others = mode(lambda *args: gradients(loss, *args))(
        np.float32(-1.0), log_prob, np.float32(-1.0)
    )
    np.testing.assert_allclose(log_temperature_gradient, entropy + 1.0)
    assert (log_temperature_gradient < 0) == rises
    assert others == [None, None]


Q = np.ones([3, 2], np.float32)
B = np.ones([3], np.float32)
COLUMN = np.ones([3, 1], np.float32)


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (soft_td_target, (B, B, B, B, ONE), "tf.stack"),
        (soft_td_target, (B, B, Q, COLUMN, ONE), "of one shape"),
        (soft_td_target, (COLUMN, B, Q, B, ONE), "of one shape"),
        (sac_critic_loss, (B, B), "tf.stack"),
        (sac_critic_loss, (Q, COLUMN), "target needs.*tf.squeeze"),
        (sac_actor_loss, (B, B, ONE), "tf.stack"),
        (sac_actor_loss, (Q, COLUMN, ONE), "log_prob needs.*tf.squeeze"),
    ],
)
def test_an_axis_too_many_or_too_few_is_refused(mode, function, args, message):
    with pytest.raises(ValueError, match=message):
        mode(function)(*args)
