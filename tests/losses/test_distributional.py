import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import categorical_projection, categorical_td_loss


def gradients(function, *args):
    args = [tf.convert_to_tensor(x) for x in args]
    with tf.GradientTape() as tape:
        tape.watch(args)
        y = function(*args)
    return tape.gradient(y, args)


def numpy_projection(probabilities, support, new_support):
    """Value by value, atom by atom: the triangular kernel around every atom."""
    projected = np.zeros((len(probabilities), len(new_support)))
    support = np.broadcast_to(support, probabilities.shape)
    for b, j in np.ndindex(*probabilities.shape):
        value = min(max(support[b, j], new_support[0]), new_support[-1])
        for i, atom in enumerate(new_support):
            step = -1 if value < atom else 1
            neighbour = new_support[np.clip(i + step, 0, len(new_support) - 1)]
            share = 1.0 if value == atom else max(0, 1 - (value - atom) / (neighbour - atom))
            projected[b, i] += probabilities[b, j] * share
    return projected


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


EVENS = [0, 2, 4, 6, 8]
UPWARDS = [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("probabilities", "support", "new_support", "expected"),
    [
        # dopamine rainbow_agent_test.py: testExampleFromCodeComments,
        (
            [[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.2, 0.5, 0.1, 0.1]],
            [EVENS, [1, 3, 4, 5, 6]],
            [4, 5, 6, 7, 8],
            [[0.8, 0, 0.1, 0, 0.1], [0.8, 0.1, 0.1, 0, 0]],
        ),
        # testProjectSingleIdenticalDistribution,
        ([[0.1, 0.2, 0.1, 0.3, 0.3]], [UPWARDS], UPWARDS, [[0.1, 0.2, 0.1, 0.3, 0.3]]),
        # testProjectFromNonMonotonicSupport,
        ([[0.1, 0.2, 0.1, 0.3, 0.3]], [[4, 3, 2, 1, 0]], UPWARDS, [[0.9, 0.1, 0, 0, 0]]),
        # and testProjectBatchOfDifferentDistributionsWithLargerDelta.
        (
            [[0.1, 0.2, 0.2, 0.2, 0.3], [0.1, 0.2, 0.4, 0.1, 0.2]],
            [EVENS, [8, 9, 10, 12, 14]],
            [0, 4, 8, 12, 16],
            [[0.2, 0.4, 0.4, 0, 0], [0, 0, 0.45, 0.45, 0.1]],
        ),
        # acme tf/losses/distributional_test.py, test_l2_projection.
        (
            [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0.5, 0.5, 0]],
            [0, 1, 2, 3],
            [0.25, 1.25, 2.25, 3.25],
            [[0.25, 0.75, 0, 0], [0, 0.25, 0.75, 0], [0.125, 0.5, 0.375, 0]],
        ),
        ([[0, 1, 0, 0]], [0, 1, 2, 3], np.arange(11) / 4, [np.arange(11) == 4]),
        # rlax value_learning_test.py, L2ProjectTest, where the weights need not be probabilities.
        (
            [[0, -0.75, 0, -0.25, 0, 0.25, 0, 0.75]],
            [np.arange(-1, 1, 0.25)],
            [-1, -0.5, 0, 0.5],
            [[-0.375, -0.5, 0, 0.875]],
        ),
        (
            [[0, 0, 0.5, 0, 1, 0, 1.5, 0]],
            [np.arange(0, 2, 0.25)],
            [0, 0.5, 1, 1.5],
            [[0, 0.5, 1, 1.5]],
        ),
    ],
)
def test_projections_match_dopamine_acme_and_rlax(
    mode, probabilities, support, new_support, expected
):
    args = (np.float32(x) for x in (probabilities, support, new_support))
    actual = mode(categorical_projection)(*args)
    np.testing.assert_allclose(actual, np.float32(expected), atol=1e-6)


def test_a_projection_onto_an_uneven_support_by_hand(mode):
    # 3 is a third of the way from 2 to 5; 100 and -100 are beyond the ends.
    actual = mode(categorical_projection)(
        np.float32([[0.6, 0.3, 0.1]]), np.float32([[3, 100, -100]]), np.float32([0, 2, 5])
    )
    np.testing.assert_allclose(actual, [[0.1, 0.4, 0.5]], rtol=1e-6)


@pytest.mark.parametrize("even", [True, False])
def test_projections_match_numpy_and_keep_mass_and_mean(mode, even):
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(size=(32, 7))).astype(np.float32)
    support = rng.uniform(-4, 4, size=(32, 7)).astype(np.float32)
    new_support = np.linspace(-5, 5, 11) if even else np.sort([-5, 5, *rng.uniform(-5, 5, 9)])
    new_support = new_support.astype(np.float32)
    actual = mode(categorical_projection)(probabilities, support, new_support)
    assert actual.shape == (32, 11)
    assert np.min(actual) >= 0
    np.testing.assert_allclose(
        actual, numpy_projection(probabilities, support, new_support), atol=1e-6
    )
    np.testing.assert_allclose(np.sum(actual, axis=-1), 1, rtol=1e-5)
    mean = (probabilities * support).sum(axis=-1)
    np.testing.assert_allclose(actual @ new_support[:, None], mean[:, None], rtol=1e-4, atol=1e-5)


def test_values_at_infinity_go_to_the_ends(mode):
    actual = mode(categorical_projection)(
        np.float32([[0.25, 0.75]]), np.float32([[-np.inf, np.inf]]), np.float32([0, 1, 2])
    )
    np.testing.assert_array_equal(actual, [[0.25, 0, 0.75]])


# rlax value_learning_test.py, CategoricalTDLearningTest.
ATOMS = np.float32([0.5, 1, 1.5])
R_T = np.float32([0.5, 0, 0.5, 0.8, -0.1])
DISCOUNT_T = np.float32([0.8, 1, 0.8, 0, 1])
LOGITS_TM1 = np.float32([[0, 9, 0], [9, 0, 9], [0, 9, 0], [9, 9, 0], [9, 0, 9]])
LOGITS_T = np.float32([[0, 0, 9], [1, 1, 1], [0, 0, 9], [1, 1, 1], [0, 9, 9]])
EXPECTED = [8.998915, 3.6932087, 8.998915, 0.69320893, 5.1929307]


def test_td_loss_matches_rlax(mode):
    loss = mode(categorical_td_loss)(LOGITS_TM1, R_T, DISCOUNT_T, LOGITS_T, ATOMS)
    np.testing.assert_allclose(loss, EXPECTED, rtol=1e-5)


def test_td_loss_matches_rlax_q_learning(mode):
    # CategoricalQLearningTest: [B, A, N], of which the actions taken and the best ones count.
    q_logits_tm1 = np.float32(
        [
            [[1, 1, 1], [0, 9, 9], [0, 9, 0], [0, 0, 0]],
            [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
            [[1, 1, 1], [0, 9, 9], [0, 0, 0], [0, 9, 0]],
            [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
            [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
        ]
    )
    q_logits_t = np.float32(
        [
            [[1, 1, 1], [9, 0, 9], [1, 0, 0], [0, 0, 9]],
            [[9, 9, 0], [9, 0, 0], [1, 1, 1], [9, -9, 0]],
            [[1, 1, 1], [9, 0, 9], [0, 0, 9], [1, 0, 0]],
            [[9, 9, 0], [9, 0, 0], [1, 1, 1], [9, -9, 0]],
            [[9, 9, 0], [9, 0, 0], [0, 9, 9], [9, -9, 0]],
        ]
    )
    rows, best = range(5), (softmax(q_logits_t) @ ATOMS).argmax(axis=-1)
    loss = mode(categorical_td_loss)(
        q_logits_tm1[rows, [2, 1, 3, 0, 1]], R_T, DISCOUNT_T, q_logits_t[rows, best], ATOMS
    )
    np.testing.assert_allclose(loss, EXPECTED, rtol=1e-5)


@pytest.mark.parametrize(
    ("r_t", "discount_t", "observation_t"),
    [
        ([10, 20], [0.9, 0.9], [[5, 6], [7, 8]]),  # testCriticLoss
        ([19, 38], [0.81, 0.81], [[9, 10], [11, 12]]),  # testCriticLossNStep
    ],
)
def test_td_loss_matches_tf_agents(mode, r_t, discount_t, observation_t):
    # categorical_dqn_agent_test.py: a linear network with the bias 1, whose kernel is 1 but for the
    # logits of the first action, which rise with the first number of the observation.
    kernel = np.ones([2, 2, 51])
    kernel[0, 0] = np.arange(51)
    logits_tm1 = np.tensordot([[1, 2], [3, 4]], kernel, axes=1) + 1  # [B, A, N]
    logits_t = np.tensordot(observation_t, kernel, axes=1) + 1
    atoms = np.linspace(-10, 10, 51)
    best = (softmax(logits_t) @ atoms).argmax(axis=-1)
    loss = mode(categorical_td_loss)(
        *(logits_tm1[range(2), range(2)].astype(np.float32), np.float32(r_t)),
        *(np.float32(discount_t), logits_t[range(2), best].astype(np.float32)),
        np.float32(atoms),
    )
    np.testing.assert_allclose(np.mean(loss), 2.19525, atol=1e-4)


def test_td_loss_matches_numpy(mode):
    rng = np.random.default_rng(0)
    logits_tm1, logits_t = rng.normal(size=(2, 32, 11)).astype(np.float32)
    r_t = rng.normal(size=32).astype(np.float32)
    discount_t = rng.choice(np.float32([0, 0.97]), size=32)
    atoms = np.linspace(-3, 3, 11).astype(np.float32)
    values = r_t[:, np.newaxis] + discount_t[:, np.newaxis] * atoms
    target = numpy_projection(softmax(logits_t), values, atoms)
    expected = -(target * np.log(softmax(logits_tm1))).sum(axis=-1)
    actual = mode(categorical_td_loss)(logits_tm1, r_t, discount_t, logits_t, atoms)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_terminal_reward_between_two_atoms_by_hand(mode):
    # 0.8 is three fifths of the way from 0.5 to 1, and every atom has a third: log(3) either way.
    rest = (np.float32([0.8]), np.float32([0]), np.float32([[7, 0, 0]]), ATOMS)
    loss, gradient = mode(
        lambda logits: (
            categorical_td_loss(logits, *rest),
            gradients(lambda x: categorical_td_loss(x, *rest), logits)[0],
        )
    )(np.zeros([1, 3], np.float32))
    np.testing.assert_allclose(loss, [np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1 / 3 - 0.4, 1 / 3 - 0.6, 1 / 3]], atol=1e-6)


def test_td_loss_passes_no_other_gradients(mode):
    first, *others = mode(lambda *args: gradients(categorical_td_loss, *args))(
        LOGITS_TM1, R_T, DISCOUNT_T, LOGITS_T, ATOMS
    )
    assert np.any(first)
    assert others == [None] * 4


def test_a_batch_of_unknown_size():
    unknown = [tf.TensorSpec([None, 3]), tf.TensorSpec([None]), tf.TensorSpec([None])]
    loss = tf.function(categorical_td_loss, [*unknown, unknown[0], tf.TensorSpec([3])])
    actual = loss(LOGITS_TM1, R_T, DISCOUNT_T, LOGITS_T, ATOMS)
    np.testing.assert_allclose(actual, EXPECTED, rtol=1e-5)


def test_the_graph_has_one_size_for_every_batch_and_no_loop():
    def operations(batch_size):
        logits, numbers = tf.TensorSpec([batch_size, 51]), tf.TensorSpec([batch_size])
        signature = [logits, numbers, numbers, logits, tf.TensorSpec([51])]
        graph = tf.function(categorical_td_loss, signature).get_concrete_function().graph
        return [operation.type for operation in graph.get_operations()]

    small, large = operations(2), operations(256)
    assert small == large
    assert not any("While" in kind or "Map" in kind for kind in large)


COLUMN = R_T[:, np.newaxis]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((LOGITS_TM1, COLUMN, DISCOUNT_T, LOGITS_T, ATOMS), "r_t needs .*tf.squeeze"),
        ((LOGITS_TM1, R_T, COLUMN, LOGITS_T, ATOMS), "discount_t needs .*tf.squeeze"),
        ((LOGITS_TM1[0], R_T, DISCOUNT_T, LOGITS_T, ATOMS), r"logits_tm1 needs .*\[B, N\]"),
        ((LOGITS_TM1, R_T, DISCOUNT_T, LOGITS_T[0], ATOMS), r"probabilities needs"),
        ((LOGITS_TM1, R_T, DISCOUNT_T, LOGITS_T, LOGITS_T), r"new_support needs"),
    ],
)
def test_other_ranks_are_refused(mode, args, message):
    with pytest.raises(ValueError, match=message):
        mode(categorical_td_loss)(*args)
