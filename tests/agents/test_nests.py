"""Default networks of every agent for observations nested anyhow."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from doubles import collector_of

import kerasrl
from kerasrl.training.checks import check_network

Box, Dict, Tuple = gym.spaces.Box, gym.spaces.Dict, gym.spaces.Tuple
BOX, THREE = Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(3)
AGENTS = {kind: Box(-1, 1, (2,), np.float32) for kind in ("sac", "ddpg", "td3", "d4pg", "ppo")} | {
    "dqn": gym.spaces.Discrete(2),
    "a2c": gym.spaces.Discrete(2),
    "reinforce": THREE,
}
NESTS = {
    "as many leaves as keys": Dict(a=Dict(x=BOX), b=THREE),
    "one leaf, three deep": Dict(a=Dict(b=Dict(c=BOX))),
    "a tuple in a dict": Dict(a=Tuple([BOX]), b=Tuple([THREE])),
    "a dict in a tuple": Tuple([Dict(x=BOX), THREE]),
    "a tuple of one": Tuple([Tuple([Dict(x=BOX)])]),
    "more leaves than keys": Dict(a=Dict(x=BOX, y=THREE), b=BOX),
    "keys out of order": Dict({"z": Dict(x=BOX), "a": Dict(x=THREE)}),
}


def make(kind, **arguments):
    agent = getattr(kerasrl, kind.upper())(**arguments)
    agent.compile(run_eagerly=True)
    return agent


def batch_of(space, count, seed=0):
    space.seed(seed)
    samples = [space.sample() for _ in range(count)]
    return tf.nest.map_structure(lambda *leaves: np.stack(leaves), *samples)


def train(agent, env, steps=1):
    arguments = {} if agent.default_batch_size is None else {"batch_size": 8}
    collector = collector_of(agent)
    agent.fit(env, steps_per_epoch=steps, callbacks=[collector], verbose=0, **arguments)


@pytest.mark.slow
@pytest.mark.regression(50)
@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize("nest", ["as many leaves as keys", "one leaf, three deep"])
def test_every_agent_trains(tiny_env, tmp_path, kind, nest):
    env = tiny_env(NESTS[nest], AGENTS[kind])
    arguments = {"baseline": True} if kind == "reinforce" else {}
    agent = make(kind, normalize_observations=True, **arguments)
    train(agent, env)
    assert agent.evaluate(env, episodes=1, verbose=0)[0] == 5.0
    observation = batch_of(NESTS[nest], 3)
    actions = agent(observation).numpy()
    np.testing.assert_allclose(agent.predict(observation, verbose=0), actions, rtol=1e-5)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    np.testing.assert_allclose(loaded(observation), actions, rtol=1e-5)
    train(loaded, env)
    agent.export_policy(tmp_path / "policy")
    exported = kerasrl.load_policy(tmp_path / "policy").act(observation)
    np.testing.assert_allclose(exported, actions, rtol=1e-4, atol=1e-5)


@pytest.mark.regression(50)
@pytest.mark.parametrize("kind", ["dqn", "a2c"])
@pytest.mark.table
def test_they_train(tiny_env, kind):
    agent = make(kind)
    train(agent, tiny_env(NESTS["as many leaves as keys"], AGENTS[kind]))
    assert int(agent.optimizer.iterations) == 1


@pytest.mark.regression(50)
@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.table
def test_every_agent_acts(kind):
    agent = getattr(kerasrl, kind.upper())()
    space = NESTS["as many leaves as keys"]
    agent.build(kerasrl.envs.EnvSpec(space, AGENTS[kind]))
    (action,) = agent(batch_of(space, 1)).numpy()
    assert agent.action_space.contains(action)
    assert np.isfinite(agent.policy(batch_of(space, 2))).all()


@pytest.mark.regression(50)
@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.table
def test_every_nest_is_served(nest):
    agent = kerasrl.TD3(normalize_observations=True)
    agent.build(kerasrl.envs.EnvSpec(NESTS[nest], AGENTS["td3"]))
    observation = batch_of(NESTS[nest], 2)
    np.testing.assert_array_equal(agent.target_actor(observation), agent.actor(observation))
    assert agent.target_critic([observation, agent(observation)]).shape == (2, 2)


def random_nest(rng, depth=3):
    if depth == 0 or rng.random() < 0.3:
        return BOX if rng.random() < 0.6 else THREE
    children = [random_nest(rng, depth - 1) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    if rng.random() < 0.4:
        return Tuple(children)
    return Dict({f"{rng.integers(100)}": child for child in children})


def by_hand(space, observation):
    """The vector of features of a batch: keys in their order, integers as one-hot codes."""
    if isinstance(space, Dict):
        return np.hstack([by_hand(space[key], observation[key]) for key in sorted(space)])
    if isinstance(space, Tuple):
        pairs = zip(space, observation, strict=True)
        return np.hstack([by_hand(child, part) for child, part in pairs])
    return observation if space is BOX else np.eye(3)[observation]


@pytest.mark.regression(50)
def test_random_nests():
    rng = np.random.default_rng(0)
    for seed in range(12):
        space = random_nest(rng)
        model = keras.Model(*kerasrl.networks.observation_features(space))
        check_network(
            "network", model, kerasrl.envs.EnvSpec(space, THREE).observation, (None, None)
        )
        observation = batch_of(space, 3, seed)
        expected = by_hand(space, observation)
        for network in (model, kerasrl.networks.clone(model)):
            np.testing.assert_array_equal(network(observation), expected)


@pytest.mark.regression(50)
def test_leaves_do_not_change_places():
    """Each leaf's own first weights, and nothing of the others, answer to it."""
    space = Dict({"z": Dict(x=BOX), "a": Dict(x=BOX)})
    agent = kerasrl.DQN()
    agent.build(kerasrl.envs.EnvSpec(space, THREE))
    kernel = agent.q_network.get_layer(index=-2).trainable_variables[0]
    kernel.assign(tf.concat([tf.zeros_like(kernel)[:2], kernel[2:]], axis=0))  # "a" comes first.
    zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    base = agent.q_network({"z": {"x": zeros}, "a": {"x": zeros}})
    np.testing.assert_array_equal(agent.q_network({"z": {"x": zeros}, "a": {"x": ones}}), base)
    assert np.any(agent.q_network({"z": {"x": ones}, "a": {"x": zeros}}) != base)


@pytest.mark.regression(50)
def test_a_users_own_nested_model():
    inner, other = keras.Input((2,)), keras.Input((), dtype=tf.int64)
    number = keras.layers.Reshape((1,))(keras.layers.Rescaling(1.0)(other))
    features = keras.layers.Concatenate()([inner, number])
    network = keras.Model({"a": {"x": inner}, "b": other}, keras.layers.Dense(2)(features))
    agent = kerasrl.DQN(network)
    agent.build(kerasrl.envs.EnvSpec(NESTS["as many leaves as keys"], AGENTS["dqn"]))
    observation = batch_of(NESTS["as many leaves as keys"], 2)
    np.testing.assert_array_equal(agent.target_network(observation), network(observation))
