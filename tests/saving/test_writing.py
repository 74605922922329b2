"""Files of agents, and what becomes of the earlier ones when one cannot be written."""

import h5py
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.compatibility import KERAS_3
from kerasrl.errors import ArgumentError, ArgumentTypeError, SaveError
from kerasrl.saving.weights import arrays_of

# A disk that is full after a number of bytes. That the process ends well is a part of the test:
# where HDF5 itself cannot write, it crashes at exit.
FULL = """
import os, resource
import keras, kerasrl
from kerasrl.errors import SaveError

agent = kerasrl.DQN()
agent.build("CartPole-v1")
agent.compile()
for name in ("agent.keras", "agent.weights.h5"):
    path = os.path.join({directory!r}, name)
    write = agent.save if name == "agent.keras" else agent.save_weights
    write(path)
    whole = open(path, "rb").read()
    for size in (1, len(whole) // 2, len(whole) - 10):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            write(path)
        except SaveError as error:
            message = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert path in message and "too large" in message and "MiB free" in message, message
        assert open(path, "rb").read() == whole
        del message
    assert os.listdir({directory!r})[-1].startswith("agent"), os.listdir({directory!r})
kerasrl.load(os.path.join({directory!r}, "agent.keras"))
agent.load_weights(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, resource.RLIM_INFINITY))
try:
    agent.save_weights(path)
except SaveError as error:
    print("whole", error)
"""


@pytest.mark.fault(47)
@pytest.mark.thorough
def test_a_full_disk_leaves_the_file_before(run_python, tmp_path):
    assert run_python(FULL.format(directory=str(tmp_path))).splitlines()[-1].startswith("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.keras", "agent.weights.h5"]


@pytest.mark.fault(47)
@pytest.mark.parametrize("name", ["agent.keras", "agent.weights.h5"])
@pytest.mark.parametrize("directory", ["missing", "file"])
@pytest.mark.table
def test_a_directory_that_cannot_be_written_to_says_so(name, directory, dqn_file, tmp_path):
    agent = kerasrl.load(dqn_file)
    (tmp_path / "file").touch()
    write = agent.save if name == "agent.keras" else agent.save_weights
    with pytest.raises(SaveError, match=f"{directory}/{name} could not be written: (No|Not) "):
        write(tmp_path / directory / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_of_the_other_kind_is_refused(dqn_file, tmp_path):
    agent = kerasrl.load(dqn_file)
    with pytest.raises(ArgumentError, match="whose name ends in .keras; received .*agent.weights"):
        agent.save(tmp_path / "agent.weights.h5")
    with pytest.raises(ArgumentError, match="whose name ends in .weights.h5; received .*agent.ker"):
        agent.save_weights(tmp_path / "agent.keras")


def test_weights_go_through_a_file_as_in_keras(make_agent, shuffled, same_state, tmp_path):
    agent, other = shuffled(make_agent("sac")), make_agent("sac")
    for name, variables in other.optimized_variables().items():
        optimizer = getattr(other, name)
        optimizer.build(variables)
        optimizer.learning_rate = float(getattr(agent, name).learning_rate)  # No weight of Keras's.
    agent.save_weights(tmp_path / "agent.weights.h5")
    other.load_weights(tmp_path / "agent.weights.h5")
    assert same_state(agent, other)
    if KERAS_3:  # It has names of its own.
        return
    keras.Model.save_weights(agent, tmp_path / "keras.weights.h5")
    ours, theirs = (_datasets(tmp_path / f"{name}.weights.h5") for name in ("agent", "keras"))
    assert ours == theirs


def test_weights_of_networks_without_a_config_are_saved(tmp_path):
    class NoConfig(keras.Model):
        def __init__(self, outputs):
            super().__init__()
            self.dense = keras.layers.Dense(outputs)

        def call(self, inputs):
            return self.dense(inputs)

    def make():
        agent = kerasrl.A2C(NoConfig(2), NoConfig(1))
        agent.build("CartPole-v1")
        return agent

    agent, other = make(), make()
    agent.save_weights(tmp_path / "agent.weights.h5")
    other.load_weights(tmp_path / "agent.weights.h5")
    one, two = arrays_of(agent), arrays_of(other)
    assert one.keys() == two.keys() and len(one) > 4
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.keras_2
def test_an_optimizer_that_keras_cannot_save_is_refused(make_agent, tmp_path):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentTypeError, match="legacy, whose state Keras cannot save"):
        agent.compile(keras.optimizers.legacy.Adam())
    agent.optimizer = keras.optimizers.legacy.Adam()  # What no compile lets through.
    with pytest.raises(SaveError, match=r"legacy\.Adam, whose state Keras does not save"):
        agent.save(tmp_path / "agent.keras")
    assert list(tmp_path.iterdir()) == []


def _datasets(path):
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype, item.shape, item[...].tobytes())

    with h5py.File(path) as file:
        file.visititems(visit)
    return found
