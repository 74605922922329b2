import gymnasium as gym
import numpy as np
import pytest

from kerasrl import envs
from kerasrl.envs.state import get_state, set_state
from kerasrl.testing import RandomEnv

CLASSIC = [
    "Acrobot-v1",
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
]


def roll(env, steps, rng):
    """Steps through episodes and returns everything that was seen."""
    seen = []
    for _ in range(steps):
        action = env.action_space.sample() if rng is None else rng(env)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append([*observation, reward, terminated, truncated])
        if terminated or truncated:
            seen.append([*env.reset()[0]])
    return np.concatenate([np.ravel(row) for row in seen])


def actions(seed):
    rng = np.random.default_rng(seed)

    def choose(env):
        if isinstance(env.action_space, gym.spaces.Discrete):
            return int(rng.integers(env.action_space.n))
        return rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)

    return choose


@pytest.mark.parametrize("env_id", CLASSIC)
def test_another_environment_goes_on_where_one_was(env_id):
    one, other = gym.make(env_id), gym.make(env_id)
    one.reset(seed=3)
    other.reset(seed=4)
    roll(one, 37, actions(0))
    states = get_state(one)
    set_state(other, states)
    expected = roll(one, 600, actions(1))  # Through the time limit, where there is one.
    np.testing.assert_array_equal(roll(other, 600, actions(1)), expected)


class Counter(gym.Wrapper):
    """A user's wrapper that says how to save it."""

    count = 0

    def step(self, action):
        self.count += 1
        return self.env.step(action)

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


def test_a_wrapper_that_defines_its_state():
    one, other = (Counter(gym.make("CartPole-v1")) for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=1)
    one.step(0)
    set_state(other, get_state(one))
    assert other.count == 1
    np.testing.assert_array_equal(one.step(1)[0], other.step(1)[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.wrappers.NormalizeObservation(gym.make("CartPole-v1")),
        lambda: gym.wrappers.TimeLimit(RandomEnv(), 3),
    ],
    ids=["a wrapper with unknown state", "an environment with unknown state"],
)
def test_what_cannot_be_saved_says_so(make):
    env = make()
    env.reset(seed=0)
    assert get_state(env) is None
    environments = envs.make(make, 2)
    environments.reset(0)
    assert environments.get_state() is None
    environments.close()


def test_several_go_on_together():
    one, other = (envs.make("CartPole-v1", 3) for _ in range(2))
    one.reset(0)
    other.reset(9)
    for _ in range(9):
        one.step(np.array([0, 1, 0]))
    other.set_state(one.get_state())
    finished = 0
    for _ in range(60):
        steps = [environments.step(np.array([1, 0, 1])) for environments in (one, other)]
        for ours, theirs in zip(*[step.next_observation for step in steps], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert steps[0].episodes == steps[1].episodes
        finished += len(steps[0].episodes)
    assert finished > 3
