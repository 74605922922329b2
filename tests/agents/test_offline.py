"""Training on a `tf.data.Dataset` of batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import AgentStateError, ArgumentError

KINDS = ("dqn", "sac")


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_trains_on_a_dataset(make_agent, batches, kind):
    agent = make_agent(kind)
    before = agent.get_weights()
    history = agent.fit(batches(agent, count=4), epochs=2, verbose=0).history
    rates = {name for name in history if name.endswith("learning_rate")}
    assert set(history) == set(agent.log_names) | rates
    assert len(rates) == len(agent.optimized_variables())
    assert np.isfinite(history["loss"]).all()
    assert int(agent.optimizer.iterations) == 8
    assert int(agent.env_steps) == 0
    moved = [(b != a).any() for b, a in zip(before, agent.get_weights(), strict=True)]
    assert sum(moved) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_batch_may_be_smaller(make_agent, batches, kind):
    agent = make_agent(kind)
    dataset = batches(agent, count=1, batch_size=20).unbatch().batch(8)
    agent.fit(dataset, verbose=0)
    assert int(agent.optimizer.iterations) == 3


def test_a_dataset_says_nothing_of_the_spaces(make_agent, batches):
    dataset = batches(make_agent("dqn"))
    agent = make_agent("dqn", build=False)
    with pytest.raises(AgentStateError, match=r"cannot tell the spaces.*build\(env\).*validation"):
        agent.fit(dataset, verbose=0)
    assert agent.run is None


def test_validation_data_says_the_spaces(make_agent, batches, tiny_env):
    dataset = batches(make_agent("dqn"))
    agent = make_agent("dqn", build=False)
    env = tiny_env(length=3)
    history = agent.fit(dataset, validation_data=env, verbose=0).history
    assert history["val_episode_return"] == [3.0]
    assert not env.closed


def test_collecting_needs_environments(make_agent, batches):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentError, match="Collect needs environments"):
        agent.fit(batches(agent), callbacks=[Collect()], verbose=0)
    assert agent.run is None


def test_the_same_agent_trains_in_an_environment_and_on_a_dataset(
    make_agent, batches, tiny_env, small_replay
):
    agent = make_agent("dqn")
    arguments = {"steps_per_epoch": 4, "batch_size": 4, "callbacks": [Collect(warmup_steps=32)]}
    agent.fit(tiny_env(), replay=small_replay(), verbose=0, **arguments)
    agent.fit(batches(agent, count=4), verbose=0)
    agent.fit(tiny_env(), replay=small_replay(), verbose=0, **arguments)
    assert int(agent.optimizer.iterations) == 12
    assert int(agent.env_steps) == 72


def test_learning_from_a_dataset_finds_the_better_action(tiny_env):
    # Action 1 is worth 1 and ends the episode, action 0 is worth nothing.
    agent = kerasrl.DQN(keras.Sequential([keras.Input(4), keras.layers.Dense(2)]))
    agent.build(tiny_env())
    agent.compile(keras.optimizers.SGD(0.3))
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 1024)
    observation = rng.normal(size=(1024, 4)).astype(np.float32)
    batch = {
        "observation": observation,
        "action": action,
        "reward": np.float32(action),
        "discount": np.zeros(1024, np.float32),
        "next_observation": observation,
    }
    agent.fit(tf.data.Dataset.from_tensor_slices(batch).batch(16), epochs=2, verbose=0)
    assert (agent.predict(observation, verbose=0) == 1).all()
    np.testing.assert_allclose(agent.q_network(observation[:8])[:, 1], np.ones(8), atol=0.1)
