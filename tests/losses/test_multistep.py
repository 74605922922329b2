import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import (
    discounted_returns,
    generalized_advantages,
    lambda_returns,
    n_step_bootstrapped_returns,
    td_target,
)

# rlax multistep_test.py, time-major here.
R_T = np.float32([[1, 0, -1, 0, 1], [0.5, 0.8, -0.7, 0, 2.1]]).T
DISCOUNT_T = np.float32([[0.5, 0.9, 1, 0.5, 0.8], [0.9, 0.5, 0.3, 0.8, 0.7]]).T
V_T = np.float32([[3, 1, 5, -5, 3], [-1.7, 1.2, 2.3, 2.2, 2.7]]).T
TO_THE_END = np.float32([[1.315, 0.63, 0.7, 1.7, 3.4], [1.33592, 0.9288, 0.2576, 3.192, 3.99]]).T
THREE_STEPS = np.float32([[2.8, -3.15, 0.7, 1.7, 3.4], [1.2155, 0.714, 0.2576, 3.192, 3.99]]).T


def gradients(function, *args):
    args = [tf.convert_to_tensor(x) for x in args]
    with tf.GradientTape() as tape:
        tape.watch(args)
        y = function(*args)
    return tape.gradient(y, args)


def n_step(n):
    return lambda r_t, discount_t, v_t: n_step_bootstrapped_returns(r_t, discount_t, v_t, n)


def random_sequence(*shape):
    rng = np.random.default_rng(0)
    r_t, v_t = rng.normal(size=(2, *shape)).astype(np.float32)
    discount_t = rng.choice(np.float32([0, 0.9, 0.99]), p=[0.1, 0.45, 0.45], size=shape)
    return r_t, discount_t, v_t


def numpy_n_step(r_t, discount_t, v_t, n):
    """The definition: n rewards, each weighted by the discounts before it, then the value."""
    returns = np.zeros(r_t.shape)
    for t in range(len(r_t)):
        weight = np.ones(r_t.shape[1:])
        last = min(t + n, len(r_t)) - 1
        for k in range(t, last + 1):
            returns[t] += weight * r_t[k]
            weight = weight * discount_t[k]
        returns[t] += weight * v_t[last]
    return returns


def test_discounted_returns_match_tf_agents(mode):
    # value_ops_test.py, testDiscountedReturnWithFinalValueMatchPrecomputedResult.
    discount_t = np.float32([1, 1, 1, 1, 0, 0.9, 0.9, 0.9, 0.9])
    expected = [5, 4, 3, 2, 1]
    expected += [8 * 0.9**4 + 3.439, 8 * 0.9**3 + 2.71, 8 * 0.9**2 + 1.9, 8 * 0.9 + 1]
    actual = mode(discounted_returns)(np.ones(9, np.float32), discount_t, np.float32(8))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_discounted_returns_match_rlax(mode):
    actual = mode(discounted_returns)(R_T, DISCOUNT_T, V_T[-1])
    np.testing.assert_allclose(actual, TO_THE_END, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 1), (7, 9), (5, 3, 2)], ids=str)
def test_discounted_returns_match_numpy(mode, shape):
    r_t, discount_t, v_t = random_sequence(*shape)
    actual = mode(discounted_returns)(r_t, discount_t, v_t[-1])
    expected = numpy_n_step(r_t, discount_t, v_t, n=shape[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_discounted_returns_take_a_scalar_discount_and_a_scalar_value(mode):
    actual = mode(lambda r_t: discounted_returns(r_t, 0.5, 4.0))(np.ones([3, 2], np.float32))
    np.testing.assert_allclose(actual, [[2.25, 2.25], [2.5, 2.5], [3, 3]])


def test_discounted_returns_leave_out_what_follows_a_termination(mode):
    r_t, discount_t, _ = random_sequence(6, 2)
    discount_t[3] = 0
    before = mode(discounted_returns)(r_t, discount_t, np.float32([0, 0]))[:4]
    r_t[4:] += 1e3
    after = mode(discounted_returns)(r_t, discount_t, np.float32([1e6, 1e6]))[:4]
    np.testing.assert_array_equal(before, after)


def test_discounted_returns_of_a_long_sequence_compile_without_unrolling():
    r_t = np.ones([4096, 2], np.float32)
    compiled = tf.function(discounted_returns, jit_compile=True)
    actual = compiled(r_t, np.full_like(r_t, 0.5), np.float32([2, 2]))
    np.testing.assert_allclose(actual, np.full_like(r_t, 2))  # 1 + 0.5 * 2 = 2: a fixed point.
    graph = compiled.get_concrete_function(r_t, r_t, r_t[0]).graph
    operations = [operation.type for operation in graph.get_operations()]
    assert len(operations) < 100
    assert operations.count("StatelessWhile") == 1


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.table
def test_sequences_of_unknown_length(jit_compile):
    unknown = tf.TensorSpec([None, None])
    sequence = [unknown, unknown, unknown]
    returns = tf.function(
        discounted_returns, [unknown, unknown, tf.TensorSpec([None])], jit_compile=jit_compile
    )
    np.testing.assert_allclose(returns(R_T, DISCOUNT_T, V_T[-1]), TO_THE_END, rtol=1e-5)
    for n, expected in [(3, THREE_STEPS), (5, TO_THE_END), (7, TO_THE_END)]:
        returns = tf.function(n_step(n), sequence, jit_compile=jit_compile)
        np.testing.assert_allclose(returns(R_T, DISCOUNT_T, V_T), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("discount_t", "v_t", "message"),
    [
        (np.ones([5], np.float32), V_T[-1], "discount_t needs the shape of r_t"),
        (DISCOUNT_T, V_T, "v_t needs the shape of one step of r_t"),
        (DISCOUNT_T, V_T[-1][:, np.newaxis], "v_t needs the shape of one step of r_t"),
    ],
)
def test_discounted_returns_refuse_other_ranks(mode, discount_t, v_t, message):
    with pytest.raises(ValueError, match=message):
        mode(discounted_returns)(R_T, discount_t, v_t)


@pytest.mark.parametrize(("n", "expected"), [(3, THREE_STEPS), (5, TO_THE_END), (7, TO_THE_END)])
def test_n_step_bootstrapped_returns_match_rlax(mode, n, expected):
    actual = mode(n_step(n))(R_T, DISCOUNT_T, V_T)
    assert actual.shape == R_T.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_n_step_bootstrapped_returns_of_one_sequence(mode):
    actual = mode(n_step(3))(R_T[:, 0], DISCOUNT_T[:, 0], V_T[:, 0])
    np.testing.assert_allclose(actual, THREE_STEPS[:, 0], rtol=1e-5)


def test_one_step_is_the_td_target(mode):
    actual = mode(n_step(1))(R_T, DISCOUNT_T, V_T)
    np.testing.assert_allclose(actual, mode(td_target)(R_T, DISCOUNT_T, V_T))


def test_as_many_steps_as_the_sequence_has_is_the_discounted_return(mode):
    r_t, discount_t, v_t = random_sequence(12, 3)
    expected = mode(discounted_returns)(r_t, discount_t, v_t[-1])
    for n in (12, 1_000_000):
        actual = mode(n_step(n))(r_t, discount_t, v_t)
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 7, 9])
def test_n_step_bootstrapped_returns_match_numpy(mode, n):
    r_t, discount_t, v_t = random_sequence(7, 4)
    actual = mode(n_step(n))(r_t, discount_t, v_t)
    expected = numpy_n_step(r_t, discount_t, v_t, n)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [0, -1])
def test_n_step_bootstrapped_returns_refuse_less_than_one_step(n):
    with pytest.raises(ValueError, match=f"at least 1; received {n}"):
        n_step_bootstrapped_returns(R_T, DISCOUNT_T, V_T, n)


@pytest.mark.parametrize("n", [3, 5])
def test_n_step_bootstrapped_returns_refuse_other_shapes(mode, n):
    with pytest.raises(ValueError, match=r"discount_t of the shape of r_t, \(5, 2\).*\(5,\)"):
        mode(n_step(n))(R_T, DISCOUNT_T[:, 0], V_T)
    with pytest.raises(ValueError, match=r"v_t of the shape of r_t, \(5, 2\).*\(6, 2\)"):
        mode(n_step(n))(R_T, DISCOUNT_T, np.ones([6, 2], np.float32))


@pytest.mark.parametrize(
    ("function", "v_t"),
    [(discounted_returns, V_T[-1]), (n_step(3), V_T), (n_step(5), V_T)],
    ids=["discounted", "3-step", "5-step"],
)
def test_returns_stop_every_gradient(mode, function, v_t):
    grads = mode(lambda *args: gradients(function, *args))(R_T, DISCOUNT_T, v_t)
    assert grads == [None, None, None]


# rlax multistep_test.py, LambdaReturnsTest: lambda 0.75.
MIXED = np.float32(
    [
        [1.6460547, 0.72281253, 0.7375001, 0.6500001, 3.4],
        [0.7866317, 0.9913063, 0.1101501, 2.834, 3.99],
    ]
).T


def test_lambda_returns_match_rlax(mode):
    np.testing.assert_allclose(mode(lambda_returns)(R_T, DISCOUNT_T, V_T, 0.75), MIXED, rtol=1e-5)


def test_lambda_returns_of_one_sequence_with_a_lambda_for_every_step(mode):
    lambda_ = np.full(5, 0.75, np.float32)
    actual = mode(lambda_returns)(R_T[:, 0], DISCOUNT_T[:, 0], V_T[:, 0], lambda_)
    np.testing.assert_allclose(actual, MIXED[:, 0], rtol=1e-5)


def test_a_lambda_of_zero_is_the_td_target_and_of_one_the_discounted_return(mode):
    r_t, discount_t, v_t = random_sequence(9, 3)
    np.testing.assert_allclose(
        mode(lambda_returns)(r_t, discount_t, v_t, 0.0),
        mode(td_target)(r_t, discount_t, v_t),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        mode(lambda_returns)(r_t, discount_t, v_t, 1.0),
        mode(discounted_returns)(r_t, discount_t, v_t[-1]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_lambda_returns_weight_the_n_step_returns(mode):
    # Sutton and Barto, eq. 12.3: (1 - lambda) * lambda**(n - 1) each, the rest on the last.
    r_t, discount_t, v_t = random_sequence(6, 4)
    weights = [0.2 * 0.8**n for n in range(5)] + [0.8**5]
    n_steps = [numpy_n_step(r_t, discount_t, v_t, n)[0] for n in range(1, 7)]
    expected = np.tensordot(weights, n_steps, axes=1)
    actual = mode(lambda_returns)(r_t, discount_t, v_t, 0.8)
    np.testing.assert_allclose(actual[0], expected, rtol=1e-5, atol=1e-6)


def test_advantages_match_tf_agents(mode):
    # value_ops_test.py, testAdvantagesMatchPrecomputedResult: values of 3, lambda 0.95.
    discount_t = np.float32([1, 1, 1, 1, 0, 0.9, 0.9, 0.9, 0])
    ones, threes = np.ones(9, np.float32), np.full(9, 3, np.float32)
    actual = mode(generalized_advantages)(ones, discount_t, threes, threes, 0.95)
    expected = [2.0808625, 1.13775, 0.145, -0.9, -2, 0.56016475, -0.16355, -1.01, -2]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("lambda_", "expected"),
    [
        (1.0, [[-1.45118, -4.4557, 2.5396, 0.5249, -0.49], [3, 2, 1, 0, -4.9]]),
        (0.7, [[-0.676979, -5.248167, 2.4846, 0.6704, -0.49], [2.2899, 1.73, 1, 0, -4.9]]),
        (0.4, [[0.56731, -6.042, 2.3431, 0.815, -0.49], [1.725, 1.46, 1, 0, -4.9]]),
    ],
)
def test_advantages_match_rlax(mode, lambda_, expected):
    # multistep_test.py, TruncatedGeneralizedAdvantageEstimationTest; the second sequence holds a
    # termination.
    r_t = np.float32([[0, 0, 1, 0, -0.5], [0, 0, 0, 0, 1]]).T
    v = np.float32([[1, 4, -3, -2, -1, -1], [-3, -2, -1, 0, 5, -1]]).T
    discount_t = np.float32([[0.99] * 5, [0.9, 0.9, 0.9, 0, 0.9]]).T
    actual = mode(generalized_advantages)(r_t, discount_t, v[:-1], v[1:], lambda_)
    np.testing.assert_allclose(actual, np.transpose(expected), atol=1e-3)


def random_rollout(steps=40, envs=5):
    """A rollout of short episodes whose next values jump where an episode was truncated."""
    rng = np.random.default_rng(0)
    r_t, v_tm1, v_t = rng.normal(size=(3, steps, envs)).astype(np.float32)
    end = rng.choice(3, p=[0.7, 0.15, 0.15], size=(steps, envs))
    terminated, truncated = end == 1, end == 2
    v_t[:-1] = np.where(truncated[:-1], v_t[:-1], v_tm1[1:])
    discount_t = np.where(terminated, 0, 0.9).astype(np.float32)
    assert terminated[:-1].any() and truncated[:-1].any()
    return r_t, discount_t, v_tm1, v_t, terminated | truncated


def numpy_advantages(r_t, discount_t, v_tm1, v_t, lambda_, ended_t):
    """Episode by episode, by eq. 16 of the paper: a sum of discounted TD errors."""
    td_error = np.float64(r_t) + discount_t * v_t - v_tm1
    advantages = np.zeros_like(td_error)
    for env in range(r_t.shape[1]):
        ends = [*(np.flatnonzero(ended_t[:, env]) + 1), len(r_t)]
        for begin, end in zip([0, *ends[:-1]], ends, strict=True):
            for t in range(begin, end):
                weights = np.cumprod([1, *(lambda_ * discount_t[t : end - 1, env])])
                advantages[t, env] = weights @ td_error[t:end, env]
    return advantages


@pytest.mark.parametrize("lambda_", [0.0, 0.95, 1.0])
@pytest.mark.table
def test_advantages_of_truncated_episodes_match_numpy(mode, lambda_):
    rollout = random_rollout()
    expected = numpy_advantages(*rollout[:4], lambda_, rollout[4])
    actual = mode(generalized_advantages)(*rollout[:4], lambda_, rollout[4])
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    as_floats = mode(generalized_advantages)(*rollout[:4], lambda_, np.float32(rollout[4]))
    np.testing.assert_array_equal(actual, as_floats)


def test_a_truncation_by_hand(mode):
    # Truncated after the first step, at a value of 10; the next episode begins at a value of 2.
    r_t, discount_t = np.float32([1, 3]), np.float32([0.5, 0.5])
    v_tm1, v_t = np.float32([4, 2]), np.float32([10, 6])
    ended_t = np.array([True, False])
    actual = mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 0.5, ended_t)
    np.testing.assert_allclose(actual, [1 + 0.5 * 10 - 4, 3 + 0.5 * 6 - 2])


def test_advantages_of_whole_episodes_need_not_be_told_of_their_ends(mode):
    r_t, discount_t, v_tm1, v_t, _ = random_rollout()
    ended_t = discount_t == 0
    np.testing.assert_array_equal(
        mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 0.9, ended_t),
        mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 0.9),
    )


def test_advantages_are_what_the_lambda_returns_exceed_the_values_by(mode):
    r_t, discount_t, v_tm1, v_t, ended_t = random_rollout()
    lambda_ = np.where(ended_t, 0, np.float32(0.9))
    returns = mode(lambda_returns)(r_t, discount_t, v_t, lambda_)
    actual = mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 0.9, ended_t)
    np.testing.assert_allclose(actual, returns - v_tm1, rtol=1e-5, atol=1e-5)


def test_lambda_one_is_the_discounted_return_minus_the_value_and_zero_the_td_error(mode):
    r_t, discount_t, v_tm1, v_t, _ = random_rollout()
    v_t[:-1] = v_tm1[1:]  # No truncations.
    returns = mode(discounted_returns)(r_t, discount_t, v_t[-1])
    one = mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 1.0)
    np.testing.assert_allclose(one, returns - v_tm1, rtol=1e-5, atol=1e-5)
    zero = mode(generalized_advantages)(r_t, discount_t, v_tm1, v_t, 0.0)
    np.testing.assert_allclose(zero, r_t + discount_t * v_t - v_tm1, rtol=1e-5, atol=1e-6)


def test_lambda_may_be_a_tensor(mode):
    r_t, discount_t, v_tm1, v_t, ended_t = random_rollout()
    args = (r_t, discount_t, v_tm1, v_t)
    np.testing.assert_allclose(
        mode(generalized_advantages)(*args, tf.constant(0.9), ended_t),
        mode(generalized_advantages)(*args, 0.9, ended_t),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("function", "args", "message"),
    [
        (lambda_returns, (R_T, R_T[:, :1], V_T, 0.5), r"lambda_returns needs discount_t"),
        (lambda_returns, (R_T, R_T, V_T[-1], 0.5), r"lambda_returns needs v_t .*\(2,\)"),
        (generalized_advantages, (R_T, R_T, R_T[:4], R_T, 0.5), r"needs v_tm1 .*\(4, 2\)"),
        (generalized_advantages, (R_T, R_T, R_T, R_T[-1], 0.5), r"needs v_t of .*\(2,\)"),
        (generalized_advantages, (R_T, R_T, R_T, R_T, 0.5, R_T[:, 0]), "needs ended_t of"),
    ],
)
def test_lambda_returns_and_advantages_refuse_other_shapes(mode, function, args, message):
    with pytest.raises(ValueError, match=message):
        mode(function)(*args)


def test_lambda_returns_and_advantages_stop_every_gradient(mode):
    returns = mode(lambda *args: gradients(lambda_returns, *args))
    assert returns(R_T, DISCOUNT_T, V_T, np.float32(0.9)) == [None] * 4
    advantages = mode(lambda *args: gradients(generalized_advantages, *args))
    assert advantages(R_T, DISCOUNT_T, V_T, V_T, np.float32(0.9), R_T) == [None] * 6
