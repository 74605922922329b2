"""What `predict` and calling an agent say of what is not a batch of observations."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import ArgumentError
from kerasrl.testing import RandomEnv, nested_space

Box, Dict, Tuple = gym.spaces.Box, gym.spaces.Dict, gym.spaces.Tuple

# Every kind of space goes through these tests; a new one needs a line here.
SPACES = {
    "vector": Box(-1, 1, (3,), np.float32),
    "scalar": Box(-1, 1, (), np.float32),
    "image": Box(0, 255, (40, 40, 3), np.uint8),
    "discrete": gym.spaces.Discrete(5, start=-2),
    "binary": gym.spaces.MultiBinary((2, 2)),
    "choices": gym.spaces.MultiDiscrete([2, 3]),
    "dict": Dict(a=Box(-1, 1, (2,), np.float32), b=gym.spaces.Discrete(3)),
    "tuple": Tuple((Box(-1, 1, (2,), np.float32), Box(-1, 1, (2, 2), np.float32))),
    "nested": nested_space(),
}


@pytest.fixture(params=SPACES)
def agent(request):
    agent = kerasrl.DQN()
    agent.build(RandomEnv(SPACES[request.param]))
    return agent


def stacked(observations):
    return tf.nest.map_structure(lambda *leaves: np.stack(leaves), *observations)


@pytest.mark.regression(15)
@pytest.mark.table
def test_a_single_observation_is_told_how_to_become_a_batch(agent):
    one = agent.observation_space.sample()
    for use in (lambda x: agent.predict(x, verbose=0), agent.predict_on_batch, agent):
        with pytest.raises(ArgumentError, match=r"must be a batch.*is a single one.*np.newaxis"):
            use(one if isinstance(one, dict | tuple) else np.asarray(one))
    batch = tf.nest.map_structure(lambda leaf: np.asarray(leaf)[np.newaxis], one)
    assert agent.predict(batch, verbose=0)[0] == agent(batch)[0] == agent.predict_on_batch(batch)[0]


@pytest.mark.regression(15)
@pytest.mark.table
def test_a_batch_is_served_whatever_numbers_it_has(agent):
    batch = stacked([agent.observation_space.sample() for _ in range(3)])
    wide = tf.nest.map_structure(
        lambda leaf: leaf.astype(np.float64 if leaf.dtype.kind == "f" else np.int64), batch
    )
    expected = agent.predict(batch, verbose=0)
    np.testing.assert_array_equal(agent.predict(wide, verbose=0), expected)
    tensors = tf.nest.map_structure(tf.constant, batch)
    np.testing.assert_array_equal(agent.predict(tensors, verbose=0), expected)
    np.testing.assert_array_equal(agent(batch), expected)


@pytest.mark.regression(15)
def test_what_is_no_observation_is_refused_by_name(agent):
    spec = agent.observation_spec
    batch = stacked([agent.observation_space.sample() for _ in range(3)])
    wider = tf.nest.map_structure(lambda leaf: np.stack([leaf, leaf], axis=-1), batch)
    for use in (lambda x: agent.predict(x, verbose=0), agent):
        with pytest.raises(ArgumentError, match=r"observation.* must be a batch, .*received \[3"):
            use(wider)
        if isinstance(spec, dict):
            with pytest.raises(ArgumentError, match="observation must be a dict with the keys"):
                use({"another": np.zeros((3, 2))})
        if isinstance(spec, tuple):
            with pytest.raises(ArgumentError, match="observation must be a tuple of 2"):
                use(batch[:1])
    text = tf.nest.map_structure(lambda leaf: np.full(leaf.shape, "x"), batch)
    with pytest.raises(ArgumentError, match="observation.* must be .*; received"):
        agent.predict(text, verbose=0)


@pytest.mark.regression(15)
def test_an_integer_that_does_not_fit_is_named():
    agent = kerasrl.DQN(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)]))
    agent.build(RandomEnv(Box(0, 255, (2, 2), np.uint8)))
    assert agent.predict(np.full((1, 2, 2), 255), verbose=0).shape == (1,)
    with pytest.raises(ArgumentError, match="observation must be uint8; received 256 in it"):
        agent.predict(np.full((1, 2, 2), 256), verbose=0)
    with pytest.raises(ArgumentError, match="observation must be uint8; received float64"):
        agent.predict(np.zeros((1, 2, 2)), verbose=0)


@pytest.mark.regression(15)
def test_lists_and_datasets_are_served(make_agent):
    agent = make_agent("dqn")
    observations = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    expected = agent.predict(observations, verbose=0)
    np.testing.assert_array_equal(agent.predict(observations.tolist(), verbose=0), expected)
    dataset = tf.data.Dataset.from_tensor_slices(observations).batch(2)
    np.testing.assert_array_equal(agent.predict(dataset, verbose=0), expected)
