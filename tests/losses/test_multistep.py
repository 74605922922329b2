import time

import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import discounted_returns, n_step_bootstrapped_returns, td_target

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
    start = time.monotonic()
    actual = compiled(r_t, np.full_like(r_t, 0.5), np.float32([2, 2]))
    seconds = time.monotonic() - start
    np.testing.assert_allclose(actual, np.full_like(r_t, 2))  # 1 + 0.5 * 2 = 2: a fixed point.
    graph = compiled.get_concrete_function(r_t, r_t, r_t[0]).graph
    assert len(graph.get_operations()) < 100
    assert seconds < 5


@pytest.mark.parametrize("jit_compile", [False, True])
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
