import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import double_q_learning, huber, l2, q_learning, td_target


def gradients(function, *args):
    args = [tf.convert_to_tensor(x) for x in args]
    with tf.GradientTape() as tape:
        tape.watch(args)
        y = function(*args)
    return tape.gradient(y, args)


# tf_agents dqn_agent_test.py: Q-values of a linear network with kernel [[2, 1], [1, 1]] and bias 1.
def linear_q(observations):
    return np.float32(observations) @ np.float32([[2, 1], [1, 1]]) + 1


Q_TM1 = linear_q([[1, 2], [3, 4]])
A_TM1 = np.int32([0, 1])
R_T = np.float32([10, 20])
DISCOUNT_T = np.float32([0.9, 0.9])


# rlax value_learning_test.py: QLearningTest and DoubleQLearningTest share all but the next values.
RLAX = {
    "q_tm1": np.float32([[1, 1, 0], [1, 2, 0]]),
    "a_tm1": np.int32([0, 1]),
    "r_t": np.float32([1, 1]),
    "discount_t": np.float32([0, 1]),
}


def test_td_target_by_hand(mode):
    # tf_agents dqn_agent_test.py, ComputeTDTargetsTest.
    target = mode(td_target)(R_T, DISCOUNT_T, np.float32([10, 20]))
    np.testing.assert_allclose(target, [19.0, 38.0], rtol=1e-6)


def test_td_target_leaves_out_the_value_where_the_episode_terminated(mode):
    target = mode(td_target)(R_T, np.float32([0.0, 0.9]), np.float32([1e6, 10]))
    np.testing.assert_allclose(target, [10.0, 29.0], rtol=1e-6)


def test_td_target_takes_a_scalar_discount(mode):
    target = mode(td_target)(R_T, 0.5, np.float32([4, 6]))
    np.testing.assert_allclose(target, [12.0, 23.0])


@pytest.mark.parametrize(
    "shapes", [([3, 1], [3], [3]), ([3], [3, 1], [3]), ([3], [3], [3, 1])], ids=str
)
def test_td_target_refuses_to_broadcast_examples_against_each_other(mode, shapes):
    with pytest.raises(ValueError, match=r"\(3, 1\).*tf.squeeze"):
        mode(td_target)(*[tf.ones(shape) for shape in shapes])


def test_td_target_refuses_mixed_ranks_when_the_batch_size_is_unknown():
    signature = [tf.TensorSpec([None]), tf.TensorSpec([None]), tf.TensorSpec([None, 1])]
    with pytest.raises(ValueError, match="of one shape"):
        tf.function(td_target, input_signature=signature).get_concrete_function()


def test_td_target_stops_every_gradient(mode):
    grads = mode(lambda *args: gradients(td_target, *args))(R_T, DISCOUNT_T, R_T)
    assert grads == [None, None, None]


def test_q_learning_matches_rlax(mode):
    td_error = mode(q_learning)(**RLAX, q_t=np.float32([[0, 1, 0], [1, 2, 0]]))
    np.testing.assert_allclose(td_error, [0.0, 1.0], atol=1e-6)


def test_double_q_learning_matches_rlax(mode):
    td_error = mode(double_q_learning)(
        **RLAX,
        q_t=np.float32([[99, 1, 98], [91, 2, 66]]),
        q_t_selector=np.float32([[2, 10, 1], [11, 20, 1]]),
    )
    np.testing.assert_allclose(td_error, [0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("next_observations", "expected_errors", "expected_loss"),
    [
        ([[5, 6], [7, 8]], [20.3, 32.7], 26.0),  # testLoss
        ([[-5, 6], [-7, 8]], [6.8, 13.8], 9.8),  # testLossWithChangedOptimalActions
    ],
)
def test_dqn_huber_loss_matches_tf_agents(mode, next_observations, expected_errors, expected_loss):
    q_t = linear_q(next_observations)
    td_error = mode(q_learning)(Q_TM1, A_TM1, R_T, DISCOUNT_T, q_t)
    np.testing.assert_allclose(td_error, expected_errors, rtol=1e-5)
    np.testing.assert_allclose(np.mean(mode(huber)(td_error)), expected_loss, rtol=1e-6)


@pytest.mark.parametrize(
    ("r_t", "discount_t", "expected_loss"),
    [
        # testLossNStep: 10 + 0.9 * 10, 20 + 0.9 * 20, and 0.9 * 0.9 left on the value.
        ([19, 38], [0.81, 0.81], 47.42),
        # testLossNStepMidMidLastFirst: the episode terminates, the value does not count.
        ([19, 38], [0, 0], 21.5),
    ],
)
def test_dqn_n_step_huber_loss_matches_tf_agents(mode, r_t, discount_t, expected_loss):
    q_t = linear_q([[9, 10], [11, 12]])
    td_error = mode(q_learning)(Q_TM1, A_TM1, np.float32(r_t), np.float32(discount_t), q_t)
    np.testing.assert_allclose(np.mean(mode(huber)(td_error)), expected_loss, rtol=1e-6)


def test_double_q_learning_agrees_with_q_learning_when_one_network_does_both(mode):
    q_t = linear_q([[-5, 6], [7, 8]])
    np.testing.assert_array_equal(
        mode(double_q_learning)(Q_TM1, A_TM1, R_T, DISCOUNT_T, q_t, q_t),
        mode(q_learning)(Q_TM1, A_TM1, R_T, DISCOUNT_T, q_t),
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_td_errors_match_numpy(mode, dtype):
    rng = np.random.default_rng(0)
    q_tm1, q_t, selector = rng.normal(size=(3, 64, 5)).astype(np.float32)
    a_tm1 = rng.integers(5, size=64).astype(dtype)
    r_t = rng.normal(size=64).astype(np.float32)
    discount_t = rng.choice(np.float32([0, 0.99]), size=64)
    rows = range(64)
    np.testing.assert_allclose(
        mode(q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t),
        r_t + discount_t * q_t.max(axis=1) - q_tm1[rows, a_tm1],
        atol=1e-6,
    )
    np.testing.assert_allclose(
        mode(double_q_learning)(q_tm1, a_tm1, r_t, discount_t, q_t, selector),
        r_t + discount_t * q_t[rows, selector.argmax(axis=1)] - q_tm1[rows, a_tm1],
        atol=1e-6,
    )


def test_actions_masked_with_minus_infinity_are_never_chosen(mode):
    q_t = np.float32([[-np.inf, 2], [3, -np.inf]])
    q_tm1 = np.float32([[5, -np.inf], [-np.inf, 8]])
    # 10 + 0.9 * 2 - 5 and 20 + 0.9 * 3 - 8.
    for td_error in (
        mode(q_learning)(q_tm1, A_TM1, R_T, DISCOUNT_T, q_t),
        mode(double_q_learning)(q_tm1, A_TM1, R_T, DISCOUNT_T, q_t, q_t),
    ):
        np.testing.assert_allclose(td_error, [6.8, 14.7], rtol=1e-6)


def test_td_errors_pass_a_gradient_to_the_chosen_values_only(mode):
    q_t = linear_q([[5, 6], [7, 8]])

    def q_learning_gradients(q_tm1, r_t, discount_t, q_t):
        return gradients(
            lambda q, r, d, q_next: q_learning(q, A_TM1, r, d, q_next), q_tm1, r_t, discount_t, q_t
        )

    def double_q_learning_gradients(q_tm1, r_t, discount_t, q_t):
        return gradients(
            lambda q, r, d, q_next, selector: double_q_learning(q, A_TM1, r, d, q_next, selector),
            *(q_tm1, r_t, discount_t, q_t, q_t + 1),
        )

    for function in (q_learning_gradients, double_q_learning_gradients):
        q_tm1_gradient, *others = mode(function)(Q_TM1, R_T, DISCOUNT_T, q_t)
        np.testing.assert_array_equal(tf.convert_to_tensor(q_tm1_gradient), [[-1, 0], [0, -1]])
        assert all(gradient is None for gradient in others)


def test_q_learning_refuses_actions_with_an_axis_too_many(mode):
    with pytest.raises(ValueError, match="one index per example.*tf.squeeze"):
        mode(q_learning)(Q_TM1, A_TM1[:, np.newaxis], R_T, DISCOUNT_T, Q_TM1)


def test_q_learning_refuses_values_without_an_action_axis(mode):
    with pytest.raises(ValueError, match=r"\[B, A\]"):
        mode(q_learning)(R_T, A_TM1, R_T, DISCOUNT_T, Q_TM1)


# rlax clipping_test.py, HuberLossTest.
HUBER_X = np.float32([-2, -1, -0.5, 0, 0.5, 1, 2])


def test_huber_matches_rlax(mode):
    np.testing.assert_allclose(mode(huber)(HUBER_X), [1.5, 0.5, 0.125, 0, 0.125, 0.5, 1.5])


def test_huber_gradients_match_rlax(mode):
    (gradient,) = mode(lambda x: gradients(huber, x))(HUBER_X)
    np.testing.assert_allclose(gradient, [-1, -1, -0.5, 0, 0.5, 1, 1])


@pytest.mark.parametrize("delta", [0.3, 1.0, 10.0])
def test_huber_matches_numpy_and_keras(mode, delta):
    x = np.random.default_rng(0).normal(scale=5, size=(8, 16)).astype(np.float32)
    actual = mode(lambda x: huber(x, delta))(x)
    expected = np.where(np.abs(x) <= delta, 0.5 * x**2, delta * (np.abs(x) - 0.5 * delta))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    keras_huber = tf.keras.losses.huber(np.zeros_like(x)[..., None], x[..., None], delta)
    np.testing.assert_allclose(actual, keras_huber, rtol=1e-5)


def test_huber_gradient_is_bounded_however_large_the_error(mode):
    (gradient,) = mode(lambda x: gradients(huber, x))(np.float32([-1e30, 1e30, -np.inf, np.inf]))
    np.testing.assert_array_equal(gradient, [-1, 1, -1, 1])


def test_l2_is_half_the_square_and_its_gradient_the_error(mode):
    x = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    np.testing.assert_allclose(mode(l2)(x), x * x / 2, rtol=1e-6)
    (gradient,) = mode(lambda x: gradients(l2, x))(x)
    np.testing.assert_allclose(gradient, x, rtol=1e-6)
