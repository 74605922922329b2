"""What an agent draws from its policy by TensorFlow is what it explores with."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.envs import EnvSpec

spaces = gym.spaces
COUNT = 4_000
SPACES = {
    "bounded": spaces.Box(np.float32([-0.5, -2]), np.float32([0.5, 3])),
    "float64": spaces.Box(-0.1, 0.1, (2,), np.float64),
    "half-open": spaces.Box(np.float32([-np.inf, 0.25]), np.float32([-0.5, np.inf])),
    "matrix": spaces.Box(-1, 1, (2, 2), np.float32),
    "Discrete": spaces.Discrete(3, start=-7),
    "MultiDiscrete": spaces.MultiDiscrete([2, 5], dtype=np.int8, start=[-2, 1]),
    "MultiBinary": spaces.MultiBinary(3),
}


def distance(one, other):
    """The greatest distance between two empirical distribution functions."""
    values = np.union1d(one, other)
    ranks = [np.searchsorted(np.sort(drawn), values, "right") for drawn in (one, other)]
    return np.abs(ranks[0] - ranks[1]).max() / COUNT


@pytest.mark.parametrize(
    ("name", "space"),
    [(name, space) for name in ("PPO", "REINFORCE") for space in SPACES]
    + [("A2C", "bounded"), ("SAC", "bounded"), ("SAC", "float64"), ("SAC", "matrix")],
)
@pytest.mark.table
def test_the_distribution_is_the_one_explored_with(name, space):
    keras.utils.set_random_seed(0)
    agent, space = getattr(kerasrl, name)(), SPACES[space]
    agent.build(EnvSpec(spaces.Box(-1, 1, (3,)), space))
    for variable in agent.actor.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.1))
    batch = np.tile(np.float32([[0.3, -1, 0.5]]), (COUNT, 1))
    sampled = agent.sample(batch).numpy()
    assert sampled.dtype == space.dtype
    assert sampled.shape == (COUNT, *space.shape)
    assert all(space.contains(np.asarray(action)) for action in sampled)
    explored = agent.explore(agent.policy(batch).numpy(), np.random.default_rng(0))
    if isinstance(space, spaces.Box):
        explored = np.clip(explored, space.low, space.high)
    # Rounded, as a bound of float64s is clipped to in float32.
    columns = [np.round(x.reshape(COUNT, -1).T.astype(np.float64), 6) for x in (sampled, explored)]
    for one, other in zip(*columns, strict=True):
        assert len(np.unique(one)) > 1
        # Kolmogorov and Smirnov: one time in 300 000 it is more.
        assert distance(one, other) < 2.5 * np.sqrt(2 / COUNT)
    if len(columns[0]) > 1:
        correlation = np.corrcoef(columns[0])
        np.testing.assert_allclose(correlation, np.eye(len(correlation)), atol=0.1)
    assert abs(np.corrcoef(columns[0][0][:-1], columns[0][0][1:])[0, 1]) < 0.1


@pytest.mark.parametrize("name", ["A2C", "PPO", "REINFORCE", "SAC"])
@pytest.mark.table
def test_draws_are_repeatable(name, make_agent):
    agent, batch = make_agent(name.lower()), np.zeros((50, 4), np.float32)
    tf.random.set_seed(3)
    first, second = agent.sample(batch).numpy(), agent.sample(batch).numpy()
    assert (first != second).any()
    tf.random.set_seed(3)
    np.testing.assert_array_equal(agent.sample(batch), first)


@pytest.mark.parametrize("name", ["D4PG", "DDPG", "DQN", "TD3"])
def test_noise_to_explore_with_is_no_part_of_a_policy(name):
    assert not hasattr(getattr(kerasrl, name), "sample")
