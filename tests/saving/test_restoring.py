"""The state of a saved agent in another one, or a table of what differs."""

import json

import gymnasium as gym
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl import saving
from kerasrl.compatibility import variables_of
from kerasrl.envs import EnvSpec
from kerasrl.errors import AgentStateError, LoadError, MismatchError, UnsafeFileError
from kerasrl.saving.weights import arrays_of

Dense, Input = keras.layers.Dense, keras.Input
BOX = gym.spaces.Box(-1, 1, (4,), np.float32)


def network(outputs, units=8, activation="tanh", name=None):
    inputs = Input((4,))
    hidden = Dense(units, activation)(inputs)
    return keras.Model(inputs, Dense(outputs, name=name)(hidden))


def dqn(q_network=None, optimizer=None, env="CartPole-v1", **arguments):
    agent = kerasrl.DQN(network(2) if q_network is None else q_network, **arguments)
    agent.build(env)
    agent.compile(optimizer or keras.optimizers.Adam(1e-3))
    return agent


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("restoring") / "agent.keras"
    dqn().save(path)
    return path


@pytest.mark.parametrize("kind", ["a2c", "d4pg", "ddpg", "dqn", "ppo", "reinforce", "sac", "td3"])
@pytest.mark.table
def test_an_agent_of_the_same_kind_takes_the_state(
    kind, make_agent, shuffled, same_state, tmp_path
):
    adam = {"run_eagerly": True}
    agent, other = shuffled(make_agent(kind, adam)), make_agent(kind)
    agent.save(tmp_path / "agent.keras")
    saving.restore(other, tmp_path / "agent.keras")
    assert same_state(agent, other)


def test_default_networks_with_other_automatic_names_take_the_state(shuffled, same_state, tmp_path):
    def agent():
        keras.layers.Dense(1)  # So that the numbers of layers have moved on.
        made = kerasrl.SAC(normalize_observations=True)
        made.build("Pendulum-v1")
        made.compile()
        return made

    one, other = shuffled(agent()), agent()
    one.save(tmp_path / "agent.keras")
    names = [[layer.name for layer in made.actor.layers] for made in (one, other)]
    assert names[0] != names[1]
    saving.restore(other, tmp_path / "agent.keras")
    assert same_state(one, other)


def test_learning_rates_are_restored(file):
    agent = dqn(optimizer=keras.optimizers.Adam(0.5))
    saving.restore(agent, file)
    assert float(agent.optimizer.learning_rate) == pytest.approx(1e-3)


def test_a_loaded_agent_takes_the_state_too(file, shuffled, same_state):
    agent = shuffled(kerasrl.load(file))
    saving.restore(agent, file)
    assert same_state(agent, kerasrl.load(file))


def test_run_options_may_differ(file):
    agent = dqn()
    agent.compile(keras.optimizers.Adam(1e-3), steps_per_execution=7, run_eagerly=True)
    saving.restore(agent, file)
    assert agent.get_compile_config()["steps_per_execution"] == 7


schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
other_env = EnvSpec(gym.spaces.Box(-2, 1, (4,), np.float32), gym.spaces.Discrete(2))

# What the other agent is, and a row of the table without its spaces.
OTHERS = {
    "class": (
        lambda: make("PPO", network(2), network(1)),
        "class kerasrl>PPO kerasrl>DQN",
    ),
    "arguments": (lambda: dqn(double=False), "double False True"),
    "discount": (lambda: dqn(discount=0.5), "discount 0.5 0.99"),
    "layer size": (lambda: dqn(network(2, units=9)), "q_network.layers[1].units 9 8"),
    "activation": (
        lambda: dqn(network(2, activation="relu")),
        "q_network.layers[1].activation relu tanh",
    ),
    "kind of layer": (
        lambda: dqn(deeper()),
        "q_network.layers[1].class LayerNormalization Dense",
    ),
    "name given by the user": (
        lambda: dqn(network(2, name="q")),
        "q_network.layers[2].name q dense",
    ),
    "space": (lambda: dqn(env=other_env), "observation_space.low -2.0"),
    "optimizer": (lambda: dqn(optimizer=keras.optimizers.SGD(1e-3)), "optimizer.class SGD Adam"),
    "setting": (
        lambda: dqn(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5)),
        "optimizer.beta_1 0.5 0.9",
    ),
    "schedule": (
        lambda: dqn(optimizer=keras.optimizers.Adam(schedule)),
        "optimizer.learning_rate {'class': 'ExponentialDecay'",
    ),
}


def make(kind, *networks):
    agent = getattr(kerasrl, kind)(*networks)
    agent.build("CartPole-v1")
    agent.compile()
    return agent


def deeper():
    inputs = Input((4,))
    return keras.Model(inputs, Dense(2)(keras.layers.LayerNormalization()(inputs)))


@pytest.mark.fault(51)
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.table
def test_another_agent_is_shown_what_differs_and_is_not_touched(kind, file):
    make_other, row = OTHERS[kind]
    agent = make_other()
    saved = json.dumps(keras.saving.serialize_keras_object(agent))
    before, rate = arrays_of(agent), float(agent.optimizer.learning_rate)
    slots = len(variables_of(agent.optimizer))
    with pytest.raises(MismatchError) as raised:
        saving.restore(agent, file)
    lines = [" ".join(line.split()) for line in str(raised.value).splitlines()]
    assert lines[1] == "what here in the file"
    assert any(line.startswith(row) for line in lines[2:])
    after = arrays_of(agent)
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())
    assert float(agent.optimizer.learning_rate) == rate
    assert json.dumps(keras.saving.serialize_keras_object(agent)) == saved
    assert slots in (0, 1) or len(variables_of(agent.optimizer)) == slots


@pytest.mark.fault(51)
def test_other_weights_in_a_file_that_says_the_same_are_found(forge):
    agent = kerasrl.load(forge.original)
    before = arrays_of(agent)

    def change(weights):
        del weights["q_network/layers/dense/vars/0"]
        weights["q_network/layers/dense/vars/0"] = np.zeros((4, 8), np.float64)
        weights["q_network/layers/dense/vars/2"] = np.zeros(3, np.float32)

    with pytest.raises(MismatchError) as raised:
        saving.restore(agent, forge.with_weights(change))
    lines = [" ".join(line.split()) for line in str(raised.value).splitlines()]
    assert "q_network/layers/dense/vars/0 float32[4, 8] float64[4, 8]" in lines
    assert "q_network/layers/dense/vars/2 (absent) float32[3]" in lines
    after = arrays_of(agent)
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())


def test_the_agent_must_be_built_and_compiled(file):
    for agent in (kerasrl.DQN(), kerasrl.DQN()):
        with pytest.raises(AgentStateError, match=r"build\(env\) and compile\(\)"):
            saving.restore(agent, file)
        agent.build("CartPole-v1")


@pytest.mark.fault(62)
def test_nothing_is_made_of_what_the_file_says(forge, canary):
    node = {
        "module": canary.module,
        "class_name": "Canary",
        "config": {},
        "registered_name": "Canary",
    }
    agent = kerasrl.load(forge.original)
    for value in (node, 5, [], {"class_name": "x"}):
        path = forge.with_config(lambda config, value=value: config["config"].update(double=value))
        with pytest.raises(LoadError):
            saving.restore(agent, path)
    with pytest.raises(UnsafeFileError):
        saving.restore(agent, forge.write({**forge.members(), "more": b""}))
    assert not canary.sang()
