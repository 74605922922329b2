"""Distributions over actions against TensorFlow Probability, and what they draw against both."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.networks import (
    CategoricalActions,
    GaussianActions,
    GaussianHead,
    action_distribution,
)

spaces, tfd = gym.spaces, tfp.distributions
INTEGERS = {
    "Discrete": spaces.Discrete(4),
    "start": spaces.Discrete(3, start=-7),
    "int32": spaces.Discrete(3, start=5, dtype=np.int32),
    "one": spaces.Discrete(1, start=2),
    "MultiDiscrete": spaces.MultiDiscrete([2, 5, 1]),
    "int8": spaces.MultiDiscrete([2, 3], dtype=np.int8, start=[-2, 1]),
    "matrix": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=[[1, -1], [0, 9]]),
    "MultiBinary": spaces.MultiBinary(3),
    "binary matrix": spaces.MultiBinary((2, 3)),
}
BOXES = {
    "bounded": spaces.Box(-1, 1, (2,), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "float64": spaces.Box(-1, 1, (2, 2), np.float64),
    "scalar": spaces.Box(-1, 1, (), np.float32),
}
SPACES = INTEGERS | BOXES


def sizes_and_starts(space):
    """How many values each integer of an action can take, and the least of each, in order."""
    if isinstance(space, spaces.Discrete):
        return [space.n], [space.start]
    if isinstance(space, spaces.MultiBinary):
        return [2] * int(np.prod(space.shape)), [0] * int(np.prod(space.shape))
    return space.nvec.ravel().tolist(), space.start.ravel().tolist()


def reference(space, parameters):
    """The distribution of TensorFlow Probability, over actions flattened and counted from 0."""
    if isinstance(space, spaces.Box):
        mean, log_std = np.split(parameters, 2, axis=-1)
        return tfd.MultivariateNormalDiag(mean, np.exp(log_std))
    logits = np.split(parameters, np.cumsum(sizes_and_starts(space)[0])[:-1], axis=-1)
    return tfd.Blockwise([tfd.Categorical(logits=each) for each in logits])


def counted_from_0(space, actions, leading):
    """What `reference` calls some actions, `[*leading, *space.shape]`."""
    flat = np.reshape(actions, (*leading, -1))
    return flat if isinstance(space, spaces.Box) else flat - np.array(sizes_and_starts(space)[1])


def parameters_for(space, *leading):
    rng = np.random.default_rng(0)
    size = action_distribution(space).num_parameters
    return rng.normal(scale=0.7, size=(*leading, size)).astype(np.float32)


def samples(space, *leading):
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=space.shape) for _ in range(np.prod(leading, dtype=int))]
    if not isinstance(space, spaces.Box):
        space.seed(0)
        drawn = [space.sample() for _ in drawn]
    return np.array(drawn, space.dtype).reshape(*leading, *space.shape)


@pytest.mark.parametrize("leading", [(6,), (3, 2)], ids=["B", "T and N"])
@pytest.mark.parametrize("name", SPACES)
def test_log_prob_and_entropy(name, leading):
    space = SPACES[name]
    distribution = action_distribution(space)
    parameters, actions = parameters_for(space, *leading), samples(space, *leading)
    expected = reference(space, parameters)
    log_prob = distribution.log_prob(tf.constant(parameters), tf.constant(actions))
    assert log_prob.shape == leading
    flat = counted_from_0(space, actions, leading).astype(
        "f" if isinstance(space, spaces.Box) else "i"
    )
    np.testing.assert_allclose(log_prob, expected.log_prob(flat), rtol=1e-4, atol=1e-5)
    entropy = distribution.entropy(tf.constant(parameters))
    assert entropy.shape == leading
    np.testing.assert_allclose(entropy, expected.entropy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["start", "matrix", "binary matrix", "float64"])
@pytest.mark.table
def test_the_same_in_every_mode(name, mode):
    space = SPACES[name]
    distribution = action_distribution(space)
    parameters, actions = parameters_for(space, 6), samples(space, 6)

    def compute(parameters, actions):
        return (
            distribution.log_prob(parameters, actions),
            distribution.entropy(parameters),
            distribution.mode(parameters),
        )

    arguments = tf.constant(parameters), tf.constant(actions)
    for one, other in zip(mode(compute)(*arguments), compute(*arguments), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SPACES)
def test_the_mode_is_the_likeliest_action_of_the_space(name):
    space = SPACES[name]
    parameters = 3 * parameters_for(space, 6)
    actions = action_distribution(space).mode(tf.constant(parameters)).numpy()
    assert actions.dtype == space.dtype
    assert all(space.contains(np.asarray(action)) for action in actions)
    if isinstance(space, spaces.Box):
        likeliest = np.split(parameters, 2, axis=-1)[0].reshape(-1, *space.shape)
        assert (np.abs(likeliest) > 1).any()  # So that the clipping shows.
        likeliest = np.clip(likeliest, space.low, space.high)
        np.testing.assert_allclose(actions, likeliest, rtol=1e-6)
    else:
        expected = np.stack([d.mode() for d in reference(space, parameters).distributions], -1)
        np.testing.assert_array_equal(counted_from_0(space, actions, (6,)), expected)


def chi_square_limit(degrees, z=4.75):
    """What chi-square exceeds one time in a million (Wilson and Hilferty)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + z * np.sqrt(spread)) ** 3


@pytest.mark.parametrize("name", INTEGERS)
def test_draws_have_the_probabilities_and_are_independent(name):
    space, count = INTEGERS[name], 20_000
    parameters = parameters_for(space)
    batch = np.tile(parameters, (count, 1))
    actions = action_distribution(space).sample(batch, np.random.default_rng(0))
    assert actions.shape == (count, *space.shape)
    assert actions.dtype == space.dtype
    assert all(space.contains(np.asarray(action)) for action in actions[:200])
    columns = counted_from_0(space, actions, (count,)).astype(int)
    sizes, _ = sizes_and_starts(space)
    probabilities = [
        d.probs_parameter().numpy().ravel()
        for d in reference(space, parameters[np.newaxis]).distributions
    ]
    # All the integers of an action together: so they have to be independent, too.
    joint = np.ones(1)
    for each in probabilities:
        joint = np.outer(joint, each).ravel()
    counts = np.bincount(np.ravel_multi_index(columns.T, sizes), minlength=len(joint))
    expected = count * joint
    assert expected.min() > 5
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic <= (chi_square_limit(len(joint) - 1) if len(joint) > 1 else 0)


def test_draws_of_a_batch_are_independent_and_repeatable():
    space = spaces.Discrete(2)
    logits = np.zeros((20_000, 2), np.float32)
    draw = lambda seed: action_distribution(space).sample(logits, np.random.default_rng(seed))  # noqa: E731
    first = draw(0)
    np.testing.assert_array_equal(first, draw(0))
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.04
    assert abs(np.corrcoef(first, draw(1))[0, 1]) < 0.04


@pytest.mark.parametrize("name", BOXES)
def test_gaussian_draws(name):
    space, count = BOXES[name], 20_000
    parameters = parameters_for(space)
    batch = np.tile(parameters, (count, 1))
    actions = action_distribution(space).sample(batch, np.random.default_rng(0))
    assert actions.shape == (count, *space.shape)
    assert actions.dtype == space.dtype
    flat = actions.reshape(count, -1)
    mean, log_std = np.split(parameters, 2)
    std = np.exp(log_std)
    assert (np.abs(flat) > 1).any()  # They are not clipped.
    # Five standard errors of either.
    np.testing.assert_allclose(flat.mean(0), mean, atol=5 * std.max() / np.sqrt(count))
    np.testing.assert_allclose(flat.std(0), std, rtol=5 / np.sqrt(2 * count))
    quantiles = np.quantile((flat - mean) / std, [0.025, 0.1587, 0.8413, 0.975], axis=0)
    np.testing.assert_allclose(quantiles.T, [[-1.96, -1, 1, 1.96]] * len(mean), atol=0.1)
    correlation = np.corrcoef(flat.T) if len(mean) > 1 else np.eye(1)
    np.testing.assert_allclose(correlation, np.eye(len(mean)), atol=0.05)


def test_each_space_has_its_distribution():
    for name, space in SPACES.items():
        kind = CategoricalActions if name in INTEGERS else GaussianActions
        assert type(action_distribution(space)) is kind


def test_number_of_parameters():
    numbers = [action_distribution(space).num_parameters for space in SPACES.values()]
    assert numbers == [4, 3, 3, 1, 8, 5, 14, 6, 12, 4, 6, 8, 2]


INF = np.inf
# The bounds, and what -1, 0 and 1 stand for; where they are constant, only what 0 stands for.
SCALED = {
    "wide": (spaces.Box(0, 300, (2,), np.float32), [0, 0], [150, 150], [300, 300]),
    "narrow": (spaces.Box(-1e-3, 1e-3, (1,), np.float32), [-1e-3], [0], [1e-3]),
    "asymmetric": (spaces.Box(np.float32([-4, 0]), np.float32([2, 3])), [-4, 0], [-1, 1.5], [2, 3]),
    "far": (spaces.Box(1e6, 1e6 + 1, (1,), np.float32), [1e6], [1e6 + 0.5], [1e6 + 1]),
    "very far": (spaces.Box(1e9, 1e9 + 1, (1,), np.float64), [1e9], [1e9 + 0.5], [1e9 + 1]),
    "from below": (spaces.Box(5, INF, (1,), np.float32), [5], [6], [7]),
    "from above": (spaces.Box(-INF, -5, (1,), np.float32), [-7], [-6], [-5]),
    "per dimension": (
        spaces.Box(np.float32([-INF, -2, 0, -INF]), np.float32([INF, 4, INF, 0])),
        [-1, -2, 0, -2],
        [0, 1, 1, -1],
        [1, 4, 2, 0],
    ),
    "matrix": (spaces.Box(0, 8, (2, 1), np.float64), [0, 0], [4, 4], [8, 8]),
    "the largest numbers": (
        spaces.Box(np.float32(-3.4028235e38), np.float32(3.4028235e38), (1,)),
        [-1],
        [0],
        [1],
    ),
}


@pytest.mark.regression(33)
@pytest.mark.parametrize("name", SCALED)
def test_parameters_are_on_the_scale_of_the_bounds(name):
    space, *expected = SCALED[name]
    distribution = action_distribution(space)
    size = len(expected[0])
    for unit, actions in zip((-1.0, 0.0, 1.0), expected, strict=True):
        actions = np.reshape(actions, (1, *space.shape)).astype(space.dtype)
        parameters = np.float32([[unit] * size + [-30.0] * size])
        drawn = distribution.sample(parameters, np.random.default_rng(0))
        assert drawn.dtype == space.dtype
        np.testing.assert_allclose(
            drawn, actions, rtol=1e-12 if space.dtype == np.float64 else 1e-6, atol=1e-9
        )
        mode = distribution.mode(tf.constant(parameters)).numpy()
        assert space.contains(mode[0])
        np.testing.assert_allclose(mode, actions, rtol=1e-6, atol=1e-9)
        # The density of what is `unit` under a standard normal, for every number of the action.
        log_prob = distribution.log_prob(tf.zeros((1, 2 * size)), tf.constant(actions))
        standard = -0.5 * unit**2 - 0.5 * np.log(2 * np.pi)
        np.testing.assert_allclose(log_prob, [size * standard], rtol=1e-5)
    entropy = distribution.entropy(tf.zeros((1, 2 * size)))
    np.testing.assert_allclose(entropy, [size * 0.5 * np.log(2 * np.pi * np.e)], rtol=1e-5)


@pytest.mark.regression(33)
def test_draws_fill_half_of_the_range_to_either_side():
    for low, high in ((0, 300), (-1e-3, 1e-3), (1e6, 1e6 + 64)):
        distribution = action_distribution(spaces.Box(low, high, (1,), np.float32))
        drawn = distribution.sample(np.zeros((20_000, 2), "f"), np.random.default_rng(0))
        unit = (drawn.astype(np.float64) - low) / (high - low) * 2 - 1
        np.testing.assert_allclose([unit.mean(), unit.std()], [0, 1], atol=0.03)
        clipped = distribution.draw(tf.zeros((2_000, 2))).numpy()
        assert clipped.min() == np.float32(low) and clipped.max() == np.float32(high)
        assert 0.6 < ((clipped > low) & (clipped < high)).mean() < 0.75  # Within a deviation.


@pytest.mark.regression(33)
def test_a_constant_number_is_neither_drawn_nor_learned():
    space = spaces.Box(np.float32([3, 0]), np.float32([3, 2]))
    distribution, alone = (action_distribution(s) for s in (space, spaces.Box(0, 2, (1,))))
    parameters = tf.constant([[7.0, 0.25, 5.0, -1.0]])
    drawn = distribution.sample(parameters.numpy(), np.random.default_rng(0))
    assert drawn[0, 0] == 3
    of_one, action = tf.constant([[0.25, -1.0]]), tf.constant([[3.0, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_prob = distribution.log_prob(parameters, action)
        entropy = distribution.entropy(parameters)
        total = log_prob + entropy
    np.testing.assert_allclose(log_prob, alone.log_prob(of_one, action[:, 1:]), rtol=1e-6)
    np.testing.assert_allclose(entropy, alone.entropy(of_one), rtol=1e-6)
    gradient = tape.gradient(total, parameters).numpy()[0]
    assert (gradient[[0, 2]] == 0).all() and (gradient[[1, 3]] != 0).all()


X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_the_head_gives_means_and_one_deviation_for_all(mode):
    head = GaussianHead(2, log_std=-0.5)
    head(X)
    kernel, bias = head.mean.get_weights()
    head.log_std.assign([-0.5, 0.25])
    expected = np.concatenate([X @ kernel + bias, np.tile([-0.5, 0.25], (5, 1))], axis=-1)
    np.testing.assert_allclose(mode(head)(X), expected, rtol=1e-5, atol=1e-6)


def test_the_head_begins_where_it_is_told_and_learns_its_deviation():
    head = GaussianHead(2, log_std=-0.5, kernel_initializer="zeros")
    np.testing.assert_array_equal(head(X), np.tile([0, 0, -0.5, -0.5], (5, 1)))
    assert len(head.trainable_variables) == 3
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(X)[:, 2:] * [1.0, 2.0])
    np.testing.assert_allclose(tape.gradient(loss, head.log_std), [5, 10])


def test_the_head_is_saved_and_loaded(tmp_path):
    inputs = keras.Input((3,))
    head = GaussianHead(2, -0.5, keras.initializers.Orthogonal(0.01), name="head")
    model = keras.Model(inputs, head(inputs))
    head.log_std.assign([-0.5, 0.25])
    config = keras.saving.serialize_keras_object(head)
    assert config["registered_name"] == "kerasrl>GaussianHead"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == head.get_config()
    assert copy.mean.kernel_initializer.gain == 0.01
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(X), model(X))
