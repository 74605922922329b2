import gymnasium as gym
import numpy as np
import pytest

from kerasrl.policies import RandomPolicy, random_actions

spaces = gym.spaces
INF = np.inf
SPACES = {
    "discrete": spaces.Discrete(4),
    "start": spaces.Discrete(3, start=-7),
    "one": spaces.Discrete(1),
    "int32": spaces.Discrete(4, dtype=np.int32),
    "binary": spaces.MultiBinary(3),
    "binary matrix": spaces.MultiBinary((2, 3)),
    "multi": spaces.MultiDiscrete([2, 5, 1]),
    "multi start": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=[[1, -1], [0, 9]]),
    "box": spaces.Box(-2, 3, (4,), np.float32),
    "scalar": spaces.Box(-2, 3, (), np.float32),
    "float64": spaces.Box(-1e-3, 1e-3, (2, 2), np.float64),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "different": spaces.Box(np.float32([-1, 5, 0.1]), np.float32([1, 6, 0.1])),
    "unbounded": spaces.Box(-INF, INF, (3,), np.float32),
    "from below": spaces.Box(100, INF, (3,), np.float32),
    "from above": spaces.Box(-INF, -100, (3,), np.float32),
    "mixed": spaces.Box(np.float32([-INF, -INF, 9, -1]), np.float32([INF, -9, INF, 1])),
    "widest": spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,), np.float32),
    "bytes": spaces.Box(0, 255, (3,), np.uint8),
    "levels": spaces.Box(-1, 2, (2,), np.int64),
    "widest int": spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
}


def draw(space, count=3_000, seed=0):
    return random_actions(space, count, np.random.default_rng(seed))


@pytest.mark.parametrize("name", SPACES)
def test_every_action_is_one_of_the_space(name):
    space = SPACES[name]
    actions = draw(space, 200)
    assert actions.shape == (200, *space.shape)
    assert actions.dtype == space.dtype
    assert all(space.contains(np.asarray(action)) for action in actions)


@pytest.mark.parametrize("name", SPACES)
def test_the_generator_decides(name):
    space = SPACES[name]
    np.testing.assert_array_equal(draw(space), draw(space))
    if name != "one":
        assert (draw(space) != draw(space, seed=1)).any()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("discrete", range(4)),
        ("start", [-7, -6, -5]),
        ("binary matrix", [0, 1]),
        ("levels", [-1, 0, 1, 2]),
        ("bytes", range(256)),
    ],
)
def test_every_integer_is_as_likely_as_another(name, values):
    found, counts = np.unique(draw(SPACES[name], 20_000), return_counts=True)
    assert found.tolist() == list(values)
    expected = counts.sum() / len(counts)
    assert (abs(counts - expected) < 6 * np.sqrt(expected)).all()


def test_each_component_has_its_own_range():
    actions = draw(SPACES["multi start"])
    assert actions.min(axis=0).tolist() == [[1, -1], [0, 9]]
    assert actions.max(axis=0).tolist() == [[2, 1], [3, 13]]


def test_bounded_components_are_uniform():
    actions = draw(SPACES["different"], 10_000)
    np.testing.assert_allclose(actions.mean(axis=0), [0, 5.5, 0.1], atol=0.03)
    np.testing.assert_allclose(actions.std(axis=0), [2 / 12**0.5, 1 / 12**0.5, 0], atol=0.01)


def test_components_without_bounds_vary_about_where_they_may_be():
    actions = draw(SPACES["mixed"], 10_000)
    np.testing.assert_allclose(actions.mean(axis=0), [0, -10, 10, 0], atol=0.06)
    np.testing.assert_allclose(actions.std(axis=0), [1, 1, 1, 2 / 12**0.5], atol=0.06)


@pytest.mark.parametrize("name", ["start", "multi start", "mixed"])
def test_the_policy_acts_for_every_environment(name):
    space = SPACES[name]
    observation = [np.zeros((5, 3)), np.zeros(5)]
    actions = RandomPolicy(space)(observation).action
    assert actions.shape == (5, *space.shape)
    assert all(space.contains(np.asarray(action)) for action in actions)


def test_the_policy_goes_on_and_repeats_with_its_seed():
    def acted(seed):
        policy = RandomPolicy(SPACES["box"], seed)
        return [policy([np.zeros((2, 1))]).action for _ in range(3)]

    first, second, third = acted(0)
    assert (first != second).any()
    np.testing.assert_array_equal(acted(0), [first, second, third])
    assert (acted(1)[0] != first).any()
    assert (acted(None)[0] != acted(None)[0]).any()


def test_the_policy_does_not_draw_what_an_environment_of_the_same_seed_draws():
    drawn = gym.utils.seeding.np_random(3)[0].uniform(-2, 3, 4).astype(np.float32)
    assert (RandomPolicy(SPACES["box"], 3)([np.zeros((1, 1))]).action[0] != drawn).any()
