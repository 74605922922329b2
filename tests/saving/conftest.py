"""Agents' files, and what a stranger might make of them."""

import io
import json
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.compatibility import variables_of
from kerasrl.saving.weights import arrays_of

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="session")
def dqn_file(tmp_path_factory):
    """The file of a DQN whose network is functional, with two Dense layers."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, "tanh", name="hidden")(inputs)
    agent = kerasrl.DQN(keras.Model(inputs, keras.layers.Dense(2, name="values")(hidden)))
    agent.build("CartPole-v1")
    agent.compile()
    path = tmp_path_factory.mktemp("dqn") / "dqn.keras"
    agent.save(path)
    return path


class Forge:
    """Makes other files out of one."""

    def __init__(self, original, path):
        self.original = original
        self.path = path

    def members(self):
        with zipfile.ZipFile(self.original) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def config(self):
        return json.loads(self.members()["config.json"])

    def write(self, members, compression=zipfile.ZIP_STORED):
        pairs = members.items() if isinstance(members, dict) else members
        with zipfile.ZipFile(self.path, "w", compression) as archive:
            for name, data in pairs:
                archive.writestr(name, data)
        return self.path

    def with_config(self, change):
        """The same file but for its config, which `change` is called with."""
        config = self.config()
        change(config)
        return self.write({**self.members(), "config.json": json.dumps(config)})

    def with_layer(self, place, **changes):
        """The same but for the config of the layer at a place in the network."""
        return self.with_config(
            lambda config: config["config"]["q_network"]["config"]["layers"][place][
                "config"
            ].update(changes)
        )

    def with_network(self, *layers):
        """The same but for the network, which is of these layers, one after another."""
        names = [f"layer{i}" for i in range(len(layers))]
        nodes = [
            {
                **node,
                "config": {**node["config"], "name": name},
                "name": name,
                "inbound_nodes": [[[before, 0, 0, {}]]] if before else [],
            }
            for node, name, before in zip(layers, names, [None, *names], strict=False)
        ]
        network = {
            "name": "forged",
            "layers": nodes,
            "input_layers": [[names[0], 0, 0]],
            "output_layers": [[names[-1], 0, 0]],
        }
        return self.with_config(lambda c: c["config"]["q_network"]["config"].update(network))

    def with_weights(self, change):
        """The same but for its HDF5 file, which `change` is called with."""
        buffer = io.BytesIO(self.members()[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            change(file)
        return self.write({**self.members(), WEIGHTS: buffer.getvalue()})


@pytest.fixture
def forge(dqn_file, tmp_path):
    """Makes files out of `dqn_file`."""
    return Forge(dqn_file, tmp_path / "forged.keras")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The name of a module whose import leaves a file; `sang()` says whether it was imported."""
    (tmp_path / "canary").mkdir()
    song = tmp_path / "song"
    source = f"open({str(song)!r}, 'w').close()\ndef Canary(*args, **kwargs): pass\n"
    (tmp_path / "canary" / "kerasrl_canary.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "canary"))
    yield type("Canary", (), {"module": "kerasrl_canary", "sang": staticmethod(song.exists)})
    sys.modules.pop("kerasrl_canary", None)


@pytest.fixture
def shuffled():
    """Gives every variable of an agent another value, its optimizers' and learning rates too."""

    def change(agent, seed=0):
        rng = np.random.default_rng(seed)
        variables = [*agent.weights]
        for name, optimized in agent.optimized_variables().items():
            optimizer = getattr(agent, name)
            optimizer.build(optimized)
            variables += variables_of(optimizer)
            if not _has_schedule(optimizer):
                optimizer.learning_rate = rng.uniform(0.01, 0.02)
        for variable in variables:
            value = rng.uniform(1, 9, variable.shape)
            variable.assign(tf.cast(tf.round(16 * value) / 16, variable.dtype))
        return agent

    return change


@pytest.fixture
def same_state():
    """Whether two agents have bit for bit the same variables, optimizers' and metrics' included."""

    def check(one, other):
        first, second = arrays_of(one), arrays_of(other)
        rates = [_rates(agent) for agent in (one, other)]
        return (
            first.keys() == second.keys()
            and all(first[name].tobytes() == second[name].tobytes() for name in first)
            and rates[0] == rates[1]
        )

    return check


def _rates(agent):
    names = agent.optimized_variables() if agent.get_compile_config() else ()
    optimizers = [getattr(agent, name) for name in names]
    return [o.learning_rate.numpy() for o in optimizers if not _has_schedule(o)]


def _has_schedule(optimizer):
    config = optimizer.get_config()
    config = config["inner_optimizer"]["config"] if "inner_optimizer" in config else config
    return isinstance(config["learning_rate"], dict)
