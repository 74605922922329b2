"""What the targets of every agent are, for networks of every make."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from network_table import (
    NETWORKS,
    Lists,
    MadeLate,
    NoName,
    Normalised,
    Numbered,
    OtherOrder,
    Twice,
    all_in_one,
    critic,
)

import kerasrl
from kerasrl.callbacks import Checkpoint, TargetUpdate

BOX = gym.spaces.Box(-1, 1, (2,), np.float32)
CUSTOM = [Lists, MadeLate, Normalised, NoName, Numbered, OtherOrder, Twice]
CUSTOM = {f"network_table>{kind.__name__}": kind for kind in CUSTOM}
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


def made(name, network, tiny_env, **compiled):
    """A built agent, its actor and its critic from what makes a network."""
    keras.utils.set_random_seed(0)
    if name == "DQN":
        agent, env = kerasrl.DQN(network(), double=True), tiny_env()
    else:
        actor = network()
        if name == "SAC":
            actor = keras.Sequential([keras.Input((4,)), actor, keras.layers.Dense(4)])
        outputs = 51 if name == "D4PG" else 1
        agent = getattr(kerasrl, name)(actor, critic(network(), outputs))
        env = tiny_env(action_space=BOX)
    agent.build(env)
    agent.compile(**{"run_eagerly": True, **compiled})
    return agent


def several(*names):
    """A network of some of the table's, side by side."""
    inputs = keras.Input((4,))
    parts = [NETWORKS[name]()(inputs) for name in names]
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(parts)))


def check_targets(agent, same=True):
    """Compares the outputs of every target with its source's."""
    sources = {"target_network": "q_network", "target_actor": "actor", "target_critic": "critic"}
    assert agent.targets
    for target in agent.targets:
        source = getattr(agent, sources[target.name])
        inputs = [X, X[:, :2]] if target.name == "target_critic" else X
        expected = source(inputs, training=False).numpy()
        assert np.array_equal(target(inputs), expected) == same, target.name


@pytest.mark.regression(1)
@pytest.mark.thorough
def test_a_target_is_what_it_follows(tiny_env, batches):
    agent = made("DQN", all_in_one, tiny_env)
    check_targets(agent)
    apart = TargetUpdate(period=100)
    agent.fit(batches(agent, count=2), callbacks=[apart], verbose=0)
    check_targets(agent, same=False)
    history = agent.fit(batches(agent, count=2), callbacks=[TargetUpdate()], verbose=0).history
    assert np.isfinite(history["loss"]).all()
    check_targets(agent)


@pytest.mark.regression(1)
@pytest.mark.parametrize("name", ["DDPG", "TD3", "SAC", "D4PG"])
@pytest.mark.table
def test_targets_of_actors_and_critics_are_what_they_follow(name, tiny_env, batches):
    agent = made(name, lambda: several("frozen normaliser", "frozen first of MLP"), tiny_env)
    agent.fit(batches(agent, count=2), callbacks=[TargetUpdate()], verbose=0)
    check_targets(agent)


@pytest.mark.regression(1)
@pytest.mark.parametrize("name", ["DQN", slow("TD3")])
@pytest.mark.thorough
def test_targets_are_what_they_follow_after_files(name, tiny_env, batches, tmp_path):
    def network():
        more = ("TimeDistributed",) if name == "TD3" else ()
        return several("frozen first of MLP", "frozen normaliser", *more)

    agent = made(name, network, tiny_env)
    apart = [TargetUpdate(period=100)]
    agent.fit(batches(agent, count=2), callbacks=apart, verbose=0)
    expected = [target.get_weights() for target in agent.targets]
    agent.save(tmp_path / "agent.keras")
    agent.save_weights(tmp_path / "agent.weights.h5")
    kept = made(name, network, tiny_env)
    checkpoint = Checkpoint(tmp_path / "run")
    kept.fit(batches(kept, count=2), callbacks=[*apart, checkpoint], verbose=0)
    others = {
        "loaded": kerasrl.load(tmp_path / "agent.keras", CUSTOM),
        "weights": made(name, network, tiny_env),
        "resumed": made(name, network, tiny_env),
    }
    others["weights"].load_weights(tmp_path / "agent.weights.h5")
    others["loaded"].compile(run_eagerly=True)
    for how, other in others.items():
        if how != "resumed":
            for target, weights in zip(other.targets, expected, strict=True):
                for one, its in zip(target.get_weights(), weights, strict=True):
                    np.testing.assert_array_equal(one, its)
        callbacks = [TargetUpdate(), *([Checkpoint(tmp_path / "run")] if how == "resumed" else [])]
        epochs = 2 if how == "resumed" else 1
        other.fit(batches(other, count=2), epochs=epochs, callbacks=callbacks, verbose=0)
        check_targets(other)


@pytest.mark.regression(29)
@pytest.mark.parametrize(
    "name",
    ["DDPG", *(pytest.param(n, marks=pytest.mark.slow) for n in ("DQN", "TD3", "SAC", "D4PG"))],
)
@pytest.mark.thorough
def test_values_are_right_where_observations_are_far_from_zero(name, tiny_env):
    # A reward of 1 at 201 and of -1 at 199 for ever: with a discount of 0.9, worth 10 and -10.
    space = gym.spaces.Box(0, 300, (1,), np.float32)
    arguments = {"normalize_observations": True, "discount": 0.9}
    if name == "DQN":
        agent = kerasrl.DQN(**arguments)
        env = tiny_env(space)
        agent.compile(keras.optimizers.Adam(1e-3), steps_per_execution=50)
    else:
        more = {"v_min": -20, "v_max": 20} if name == "D4PG" else {}
        more |= {"temperature": 1e-3, "learn_temperature": False} if name == "SAC" else {}
        agent = getattr(kerasrl, name)(**arguments, **more)
        env = tiny_env(space, BOX)
        optimizers = {
            f"{part}_optimizer": keras.optimizers.Adam(1e-3) for part in ("actor", "critic")
        }
        agent.compile(**optimizers, steps_per_execution=50)
    agent.build(env)
    rng = np.random.default_rng(0)
    observation = rng.choice(np.float32([199, 201]), (512, 1))
    for normalizer in agent.observation_normalizers:
        normalizer.adapt(observation)
    action = rng.integers(0, 2, 512) if name == "DQN" else rng.uniform(-1, 1, (512, 2))
    batch = {
        "observation": observation,
        "action": action.astype(agent.action_space.dtype),
        "reward": observation[:, 0] - 200,
        "discount": np.ones(512, np.float32),
        "next_observation": observation,
    }
    dataset = tf.data.Dataset.from_tensor_slices(batch).batch(32).repeat()
    callbacks = [TargetUpdate(period=1, step_size=0.005)]
    agent.fit(dataset, steps_per_epoch=400, callbacks=callbacks, verbose=0)
    ends = np.float32([[199], [201]])
    if name == "DQN":
        q = agent.q_network(ends).numpy().max(axis=-1)
    else:
        q = agent.critic([ends, np.zeros((2, 2), np.float32)]).numpy()
        q = agent._mean(q).numpy() if name == "D4PG" else q.mean(axis=-1)
    # On their way: 400 updates of 0.005 go most of it.
    assert -12 < q[0] < -2 and 2 < q[1] < 12, q


SCRIPT = """
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import sys, gymnasium as gym, keras, kerasrl
sys.path.insert(0, "tests")
from conftest import TinyEnv
from network_table import NETWORKS, critic
from kerasrl.callbacks import TargetUpdate

names = ("frozen first of MLP", "frozen normaliser", "shared", "TimeDistributed", "mixed precision")

def network():
    inputs = keras.Input((4,))
    joint = keras.layers.Concatenate()([NETWORKS[name]()(inputs) for name in names])
    return keras.Model(inputs, keras.layers.Dense(2)(joint))

box = gym.spaces.Box(-1, 1, (2,))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    agent = kerasrl.DDPG(network(), critic(network()))
    agent.compile()
agent.build(TinyEnv(action_space=box))
rng = np.random.default_rng(0)
observation = rng.normal(size=(32, 4)).astype("f")
batch = {
    "observation": observation, "action": rng.uniform(-1, 1, (32, 2)).astype("f"),
    "reward": np.ones(32, "f"), "discount": np.ones(32, "f"), "next_observation": observation,
}
dataset = tf.data.Dataset.from_tensor_slices(batch).batch(8)
agent.adapt(observation)
agent.fit(dataset, callbacks=[TargetUpdate()], verbose=0)
for target, source in ((agent.target_actor, agent.actor), (agent.target_critic, agent.critic)):
    for one, other in target._pairing.weights:
        for a, b in zip(*map(strategy.experimental_local_results, (one, other))):
            np.testing.assert_array_equal(a, b, err_msg=other.name)
    inputs = observation if source is agent.actor else [observation, batch["action"]]
    np.testing.assert_array_equal(target(inputs), source(inputs, training=False))
print("the same")
"""


@pytest.mark.slow
@pytest.mark.regression(1)
def test_targets_are_what_they_follow_on_two_replicas(run_python):
    assert "the same" in run_python(SCRIPT)
