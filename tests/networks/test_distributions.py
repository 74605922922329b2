"""Distributions over actions against closed forms in NumPy, at their ends, and in every mode."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.errors import ArgumentError
from kerasrl.networks import action_distribution, tanh_gaussian_distribution, tanh_gaussian_sample

spaces, tfd = gym.spaces, tfp.distributions
HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)

# By the name of a case: the space, and how many values each integer has and the least of each.
INTEGERS = {
    "Discrete": (spaces.Discrete(4), [4], [0]),
    "start": (spaces.Discrete(3, start=-7), [3], [-7]),
    "int32": (spaces.Discrete(3, start=5, dtype=np.int32), [3], [5]),
    "one": (spaces.Discrete(1, start=2), [1], [2]),
    "MultiDiscrete": (spaces.MultiDiscrete([2, 5, 1]), [2, 5, 1], [0, 0, 0]),
    "int8": (spaces.MultiDiscrete([2, 3], dtype=np.int8, start=[-2, 1]), [2, 3], [-2, 1]),
    "matrix": (
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=[[1, -1], [0, 9]]),
        [2, 3, 4, 5],
        [1, -1, 0, 9],
    ),
    "MultiBinary": (spaces.MultiBinary(3), [2] * 3, [0] * 3),
    "binary matrix": (spaces.MultiBinary((2, 3)), [2] * 6, [0] * 6),
}
# The space, and what 0 and 1 stand for: the middle, and the way from there to the upper bound.
BOXES = {
    "Box": (spaces.Box(-1, 1, (3,)), [0, 0, 0], [1, 1, 1]),
    "asymmetric": (spaces.Box(np.float32([-4, 0]), np.float32([2, 300])), [-1, 150], [3, 150]),
    "scalar": (spaces.Box(0, 0.5, ()), [0.25], [0.25]),
    "float64": (spaces.Box(-0.1, 0.7, (2, 1), np.float64), [0.3, 0.3], [0.4, 0.4]),
    "far": (spaces.Box(1e9, 1e9 + 1, (1,), np.float64), [1e9 + 0.5], [0.5]),
}
UNBOUNDED = {
    "unbounded": (spaces.Box(-np.inf, np.inf, (2, 2)), [0] * 4, [1] * 4),
    "from below": (spaces.Box(5, np.inf, (1,)), [6], [1]),
}
CASES = (
    [(name, "categorical") for name in INTEGERS]
    + [(name, "gaussian") for name in BOXES | UNBOUNDED]
    + [(name, "tanh") for name in BOXES]
)
TABLE = INTEGERS | BOXES | UNBOUNDED
ids = [f"{kind}-{name}" for name, kind in CASES]
each_case = pytest.mark.parametrize(("name", "kind"), CASES, ids=ids)
some_cases = pytest.mark.parametrize(
    ("name", "kind"),
    [("int8", "categorical"), ("float64", "gaussian"), ("asymmetric", "tanh")],
)


def make(space, kind, parameters):
    if kind == "tanh":
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tanh_gaussian_distribution(mean, log_std, space)
    return action_distribution(space).distribution(parameters)


def parameters_for(space, count=6, seed=0):
    size = action_distribution(space).num_parameters
    return np.random.default_rng(seed).normal(0, 0.7, (count, size)).astype(np.float32)


def log_softmaxes(parameters, sizes):
    columns = np.split(np.float64(parameters), np.cumsum(sizes)[:-1], axis=-1)
    return [x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in columns]


def tanh_log_slope(x):
    return -2 * (np.logaddexp(x, -x) - np.log(2))


def expected_log_prob(name, kind, parameters, actions):
    """In float64, of actions `[B, ...]`."""
    space, *rest = TABLE[name]
    flat = np.reshape(actions, (len(actions), -1))
    if kind == "categorical":
        columns = log_softmaxes(parameters, rest[0])
        index = (flat - rest[1]).astype(int)
        chosen = [np.take_along_axis(c, index[:, [i]], -1)[:, 0] for i, c in enumerate(columns)]
        return sum(chosen)
    mean, log_std = np.split(np.float64(parameters), 2, axis=-1)
    offset, scale = np.float64(rest)
    unit = (np.float64(flat) - offset) / scale
    x = np.arctanh(unit) if kind == "tanh" else unit
    density = -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - HALF_LOG_2PI - np.log(scale)
    return (density - (tanh_log_slope(x) if kind == "tanh" else 0)).sum(-1)


def expected_entropy(name, kind, parameters):
    _, *rest = TABLE[name]
    if kind == "categorical":
        return sum(-(np.exp(x) * x).sum(-1) for x in log_softmaxes(parameters, rest[0]))
    mean, log_std = np.split(np.float64(parameters), 2, axis=-1)
    entropy = log_std + 0.5 + HALF_LOG_2PI + np.log(rest[1])
    if kind == "tanh":
        z = np.linspace(-12, 12, 20_001).reshape(-1, 1, 1)
        weights = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
        entropy += (weights * tanh_log_slope(mean + np.exp(log_std) * z)).sum(0)
    return entropy.sum(-1)


def expected_kl(name, kind, one, other):
    _, *rest = TABLE[name]
    if kind == "categorical":
        pairs = zip(log_softmaxes(one, rest[0]), log_softmaxes(other, rest[0]), strict=True)
        return sum((np.exp(p) * (p - q)).sum(-1) for p, q in pairs)
    (m, s), (n, t) = (np.split(np.float64(x), 2, axis=-1) for x in (one, other))
    return (t - s + (np.exp(2 * s) + (m - n) ** 2) / (2 * np.exp(2 * t)) - 0.5).sum(-1)


@each_case
def test_shapes_dtypes_and_bounds(name, kind):
    space = TABLE[name][0]
    distribution = make(space, kind, parameters_for(space))
    assert isinstance(distribution, tfd.Distribution)
    assert distribution.batch_shape == (6,) and distribution.event_shape == space.shape
    assert distribution.dtype == space.dtype
    for actions, leading in (
        (distribution.sample(seed=(1, 2)), (6,)),
        (distribution.sample((3, 2), seed=(1, 2)), (3, 2, 6)),
        (distribution.mode(), (6,)),
    ):
        assert actions.shape == (*leading, *space.shape) and actions.dtype == space.dtype
        assert distribution.log_prob(actions).shape == leading
        if kind != "gaussian":
            flat = actions.numpy().reshape(-1, *space.shape)
            assert all(space.contains(np.asarray(action)) for action in flat)


@each_case
def test_log_prob_entropy_and_divergence_match_numpy(name, kind):
    space = TABLE[name][0]
    one, other = parameters_for(space), parameters_for(space, seed=1)
    p, q = make(space, kind, one), make(space, kind, other)
    # Away from the ends, where rounding the action loses what it was before tanh.
    actions = (p if kind == "categorical" else make(space, kind, 0.3 * one)).sample(seed=(1, 2))
    exact = {"rtol": 1e-5, "atol": 1e-5 if kind == "tanh" else 2e-6}
    expected = expected_log_prob(name, kind, one, actions.numpy())
    np.testing.assert_allclose(p.log_prob(actions), expected, **exact)
    np.testing.assert_allclose(p.entropy(), expected_entropy(name, kind, one), **exact)
    divergence = p.kl_divergence(q)
    np.testing.assert_allclose(divergence, expected_kl(name, kind, one, other), **exact)
    np.testing.assert_array_equal(tfd.kl_divergence(q, q), np.zeros(6))
    assert (divergence.numpy() >= 0).all()


@each_case
def test_what_losses_have_is_the_same_but_for_the_scale(name, kind):
    space, *rest = TABLE[name]
    parameters = tf.constant(parameters_for(space))
    distribution = make(space, kind, parameters)
    if kind == "tanh":
        mean, log_std = tf.split(parameters, 2, axis=-1)
        noise = tfd.Normal(tf.zeros_like(mean), 1.0).sample(seed=(1, 2))
        unit, of_losses = tanh_gaussian_sample(mean, log_std, noise)
        actions, log_prob = distribution.experimental_sample_and_log_prob(seed=(1, 2))
        entropy, expected = None, np.array(rest[0]) + np.array(rest[1]) * unit
        np.testing.assert_allclose(np.reshape(actions, (6, -1)), expected, rtol=1e-6, atol=1e-6)
    else:
        actions, family = distribution.sample(seed=(1, 2)), action_distribution(space)
        log_prob = distribution.log_prob(actions)
        of_losses, entropy = family.log_prob(parameters, actions), family.entropy(parameters)
    constant = 0 if kind == "categorical" else np.log(rest[1]).sum()
    np.testing.assert_allclose(log_prob + constant, of_losses, rtol=1e-6, atol=1e-6)
    if entropy is not None:
        np.testing.assert_allclose(distribution.entropy() - constant, entropy, 1e-6, 1e-6)


@some_cases
@pytest.mark.table
def test_the_same_in_every_mode(name, kind, mode):
    space = TABLE[name][0]
    one, other = parameters_for(space), parameters_for(space, seed=1)

    def compute(one, other, actions):
        p, q = make(space, kind, one), make(space, kind, other)
        exact = p.log_prob(actions), p.entropy(), p.kl_divergence(q), p.mode()
        return exact, p.sample(2, seed=(1, 2)), p.sample(2), p.log_prob(p.sample(seed=(3, 4)))

    actions = make(space, kind, 0.3 * one).sample(seed=(1, 2))
    arguments = tf.constant(one), tf.constant(other), actions
    in_mode = mode(compute)
    exact, seeded, drawn, log_prob = in_mode(*arguments)
    expected, same, *_ = compute(*arguments)
    for x, y in zip(exact, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
    assert seeded.shape == drawn.shape == same.shape
    assert np.isfinite(log_prob).all()
    np.testing.assert_array_equal(seeded, in_mode(*arguments)[1])


@some_cases
def test_seeds(name, kind):
    space = TABLE[name][0]
    distribution = make(space, kind, parameters_for(space, 50))
    first = distribution.sample(seed=tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(first, tf.function(distribution.sample)(seed=(1, 2)))
    for seed in ((1, 3), None, None):
        assert (first != distribution.sample(seed=seed).numpy()).any()


@pytest.mark.parametrize("name", ["start", "int8", "matrix", "MultiBinary"])
def test_draws_of_integers_have_their_probabilities_and_are_independent(name):
    space, sizes, starts = TABLE[name]
    parameters, count = parameters_for(space, 1), 40_000
    drawn = make(space, "categorical", parameters).sample(count, seed=(1, 2)).numpy()
    columns = (drawn.reshape(count, -1).astype(int) - starts).T
    joint = np.ones(1)
    for log_probs in log_softmaxes(parameters, sizes):
        joint = np.outer(joint, np.exp(log_probs[0])).ravel()
    counts = np.bincount(np.ravel_multi_index(columns, sizes), minlength=len(joint))
    # Five standard deviations of a binomial.
    assert (np.abs(counts - count * joint) < 5 * np.sqrt(count * joint) + 1).all()


@pytest.mark.parametrize("kind", ["gaussian", "tanh"])
@pytest.mark.parametrize("name", ["asymmetric", "float64"])
def test_draws_of_numbers(name, kind):
    space, offset, scale = TABLE[name]
    parameters, count = parameters_for(space, 1), 40_000
    drawn = make(space, kind, parameters).sample(count, seed=(1, 2)).numpy().reshape(count, -1)
    unit = (drawn - offset) / scale
    x = np.arctanh(unit.clip(-1 + 1e-7, 1 - 1e-7)) if kind == "tanh" else unit
    mean, log_std = np.split(parameters[0], 2)
    std = np.exp(log_std)
    quantiles = np.quantile((x - mean) / std, [0.0228, 0.1587, 0.5, 0.8413, 0.9772], axis=0)
    np.testing.assert_allclose(quantiles.T, [[-2, -1, 0, 1, 2]] * len(mean), atol=0.05)
    np.testing.assert_allclose(np.corrcoef(x.T), np.eye(len(mean)), atol=0.03)


@pytest.mark.parametrize("kind", ["gaussian", "tanh"])
def test_densities_integrate_to_one_in_the_units_of_the_environment(kind):
    space = spaces.Box(0, 300, (1,), np.float64)
    actions = np.linspace(*((0, 300) if kind == "tanh" else (-1500, 1500)), 100_001)[1:-1, None]
    distribution = make(space, kind, np.float32([0.4, np.log(0.5)]))
    density = tf.cast(distribution.prob(actions), tf.float64)
    np.testing.assert_allclose(tfp.math.trapz(density, actions[:, 0]), 1, atol=1e-3)


@pytest.mark.parametrize("log_std", [-20.0, -5.0, 0.0, 2.0])
def test_the_entropy_after_tanh_is_integrated_finely(log_std):
    mean = np.linspace(-6, 6, 13).reshape(-1, 1)
    parameters = np.concatenate([mean, np.full_like(mean, log_std)], -1).astype(np.float32)
    entropy = make(BOXES["scalar"][0], "tanh", parameters).entropy()
    np.testing.assert_allclose(entropy, expected_entropy("scalar", "tanh", parameters), 1e-6, 2e-5)


@pytest.mark.parametrize("log_std", [-20.0, -10.0, -3.0, 2.0])
def test_log_prob_and_divergence_are_exact_for_tiny_deviations(log_std):
    space, rng = BOXES["Box"][0], np.random.default_rng(0)
    mean = rng.uniform(-1, 1, (64, 3)).astype(np.float32)
    one = np.concatenate([mean, np.full_like(mean, log_std)], -1)
    near = mean + np.exp(np.float32(log_std)) * rng.normal(size=(64, 3)).astype(np.float32)
    other = np.concatenate([near, np.full_like(mean, log_std + 0.1)], -1)
    p, q = make(space, "gaussian", one), make(space, "gaussian", other)
    expected = expected_log_prob("Box", "gaussian", one, near)
    np.testing.assert_allclose(p.log_prob(near), expected, rtol=1e-5, atol=1e-4)
    expected = expected_kl("Box", "gaussian", one, other)
    np.testing.assert_allclose(p.kl_divergence(q), expected, rtol=1e-5, atol=1e-6)
    # From the noise, which rounding the action to float32 would lose.
    _, log_prob = make(space, "tanh", one).experimental_sample_and_log_prob(100, seed=(1, 2))
    entropy = expected_entropy("Box", "tanh", one)
    np.testing.assert_allclose(-np.mean(log_prob), np.mean(entropy), atol=0.1)


def gradients(function, *parameters):
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        total = tf.reduce_sum(function(*parameters))
    return tape.gradient(total, parameters)


@pytest.mark.table
def test_the_ends_of_tanh_are_finite(mode):
    space = BOXES["asymmetric"][0]
    grid = np.float32([[m, s] for m in (-1e4, -20, 0, 20, 1e4) for s in (-5, 2)])
    parameters = [tf.constant(np.repeat(x, 2, -1)) for x in np.split(grid, 2, -1)]
    ends = tf.constant([[space.low], [space.high]])

    def at_the_bounds(mean, log_std):
        return tanh_gaussian_distribution(mean, log_std, space).log_prob(ends)

    def drawn(mean, log_std):
        distribution = tanh_gaussian_distribution(mean, log_std, space)
        actions, log_prob = distribution.experimental_sample_and_log_prob(9, seed=(1, 2))
        return log_prob + tf.reduce_sum(actions, -1) + distribution.entropy()

    for function in (at_the_bounds, drawn):
        assert np.isfinite(function(*parameters)).all()
        for gradient in mode(lambda *x, f=function: gradients(f, *x))(*parameters):
            assert np.isfinite(gradient).all()
    greedy = tanh_gaussian_distribution(*parameters, space).mode().numpy()
    assert all(space.contains(action) for action in greedy)
    expected = np.tanh(parameters[0]) * np.float32([3, 150]) + np.float32([-1, 150])
    np.testing.assert_allclose(greedy, expected, atol=1e-4)


def test_a_value_that_is_never_taken():
    space = INTEGERS["Discrete"][0]
    logits = tf.constant([[0.0, -np.inf, 0.0, 0.0]])
    p = make(space, "categorical", logits)
    np.testing.assert_allclose(p.entropy(), [np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(p.log_prob([0, 1, 2, 3]), [-np.log(3), -np.inf, *[-np.log(3)] * 2])
    assert 1 not in p.sample(1000, seed=(1, 2))
    np.testing.assert_array_equal(p.kl_divergence(p), [0])
    assert np.isfinite(
        gradients(lambda x: make(space, "categorical", x).entropy(), logits)[0]
    ).all()


def test_logits_far_apart_are_finite():
    space = INTEGERS["Discrete"][0]
    logits = tf.constant([[1e4, -1e4, 0.0, 0.0], [3e38, 0.0, -3e38, 0.0]])
    p, q = make(space, "categorical", logits), make(space, "categorical", -logits)
    assert np.isfinite(p.log_prob(p.mode())).all()
    np.testing.assert_array_equal(p.entropy(), [0, 0])
    np.testing.assert_array_equal(p.sample(seed=(1, 2)), [0, 0])
    assert np.isfinite(q.kl_divergence(q)).all()

    def of(logits):
        distribution = make(space, "categorical", logits)
        return distribution.log_prob(tf.constant([0, 0], tf.int64)) + distribution.entropy()

    assert np.isfinite(gradients(of, logits)[0]).all()


@pytest.mark.parametrize("kind", ["gaussian", "tanh"])
def test_a_constant_number_adds_nothing(kind):
    space, alone = spaces.Box(np.float32([3, 0]), np.float32([3, 2])), spaces.Box(0, 2, (1,))
    parameters, of_one = tf.constant([[7.0, 0.25, 5.0, -1.0]]), tf.constant([[0.25, -1.0]])
    p, expected = make(space, kind, parameters), make(alone, kind, of_one)
    action = p.sample(seed=(1, 2))
    assert action.numpy()[0, 0] == 3 and p.mode().numpy()[0, 0] == 3
    np.testing.assert_allclose(p.log_prob(action), expected.log_prob(action[:, 1:]), rtol=1e-5)
    np.testing.assert_allclose(p.entropy(), expected.entropy(), rtol=1e-5)
    q, other = make(space, kind, -parameters), make(alone, kind, -of_one)
    np.testing.assert_allclose(p.kl_divergence(q), expected.kl_divergence(other), rtol=1e-5)


@some_cases
def test_gradients_pass_through_draws_of_numbers_alone(name, kind):
    space = TABLE[name][0]
    drawn = lambda x: tf.cast(make(space, kind, x).sample(seed=(1, 2)), tf.float32)  # noqa: E731
    (gradient,) = gradients(drawn, tf.constant(parameters_for(space)))
    assert (gradient is None) == (kind == "categorical")
    assert gradient is None or (np.isfinite(gradient).all() and np.all(gradient))


@some_cases
def test_parts_of_a_batch_and_rollouts(name, kind):
    space = TABLE[name][0]
    parameters = parameters_for(space)
    distribution = make(space, kind, parameters)
    actions = make(space, kind, 0.3 * parameters).sample(seed=(1, 2))
    log_prob = distribution.log_prob(actions)
    np.testing.assert_allclose(distribution[1:3].log_prob(actions[1:3]), log_prob[1:3], 1e-5)
    np.testing.assert_allclose(distribution.copy().log_prob(actions), log_prob)
    folded = make(space, kind, parameters.reshape(2, 3, -1))
    of_folded = folded.log_prob(tf.reshape(actions, (2, 3, *space.shape)))
    np.testing.assert_allclose(of_folded, np.reshape(log_prob, (2, 3)), rtol=1e-5)


def test_a_divergence_needs_equal_spaces():
    one, other = (make(spaces.Discrete(n), "categorical", tf.zeros((1, n))) for n in (2, 3))
    with pytest.raises(ArgumentError, match=r"received Discrete\(2\) and Discrete\(3\)"):
        one.kl_divergence(other)
    space = BOXES["Box"][0]
    gaussian, tanh = (make(space, kind, tf.zeros((1, 6))) for kind in ("gaussian", "tanh"))
    with pytest.raises(NotImplementedError):
        gaussian.kl_divergence(tanh)


SCRIPT = """
import sys
import gymnasium as gym, numpy as np, kerasrl
assert "tensorflow_probability" not in sys.modules
p = kerasrl.networks.action_distribution(gym.spaces.Discrete(2)).distribution(np.zeros((1, 2), "f"))
q = kerasrl.networks.action_distribution(gym.spaces.Box(0, 1)).distribution(np.zeros((1, 2), "f"))
kerasrl.networks.tanh_gaussian_distribution(q.loc, q.log_std, q.space).sample(), p.sample()
"""


@pytest.mark.thorough
def test_it_is_imported_by_those_who_use_it_and_says_nothing():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
