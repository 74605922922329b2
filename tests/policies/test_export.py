"""Policies that are exported act as their agents do."""

import functools
import gc
import json
import os
import random
import subprocess
import sys

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl import policies
from kerasrl.envs import EnvSpec
from kerasrl.envs.spec import space_leaves
from kerasrl.errors import AgentStateError, ArgumentError, NetworkError
from kerasrl.export.input_names import input_names
from kerasrl.testing import RandomEnv, nested_space

spaces = gym.spaces
Box, Discrete = spaces.Box, spaces.Discrete
SCALED = Box(np.float32([[-2, 0], [0, 5]]), np.float32([[2, 1], [1, 6]]))
DOUBLE = Box(-0.1, 0.1, (2,), np.float64)  # As float32, 0.1 is greater.
HALF_OPEN = Box(np.float32([-np.inf, 0.25]), np.float32([-0.5, np.inf]))
ACTIONS = {
    "A2C": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, -1], [2, 7]]),
    "D4PG": SCALED,
    "DDPG": DOUBLE,
    "DQN": Discrete(3, start=2),
    "PPO": HALF_OPEN,
    "REINFORCE": Discrete(4, start=-3),
    "SAC": SCALED,
    "TD3": Box(-3, 1, (), np.float32),
}
SAMPLED = {"A2C", "PPO", "REINFORCE", "SAC"}
FORMATS = ("saved_model", "tflite")


def observations(space, count, seed=0):
    """A nest of `count` random observations."""
    rng = np.random.default_rng(seed)
    leaves = [policies.random_actions(leaf, count, rng) for _, leaf in space_leaves(space)]
    return tf.nest.pack_sequence_as(EnvSpec(space, Discrete(2)).observation, leaves)


def built(name, observation_space=None, action_space=None, **arguments):
    """An agent whose weights and statistics are not those it began with."""
    keras.utils.set_random_seed(0)
    agent = getattr(kerasrl, name)(**arguments)
    space = observation_space or nested_space()
    agent.build(EnvSpec(space, action_space or ACTIONS[name]))
    for variable in agent.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
    for layer in agent.observation_normalizers:
        layer.adapt(tf.nest.map_structure(lambda x: 3 * x + 1, observations(space, 20, seed=1)))
    return agent


def tiny(**arguments):
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    return built("DQN", Box(-1, 1, (4,)), Discrete(2), q_network=network, **arguments)


def contents(directory):
    return {p.relative_to(directory): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@functools.cache
def normalised(name):
    """An agent for every kind of leaf, observations, and the actions that it predicts."""
    agent = built(name, normalize_observations=True)
    batch = observations(agent.observation_space, 100)
    return agent, batch, agent.predict(batch, verbose=0)


@pytest.mark.fault(68)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.thorough
def test_every_agents_policy_acts_as_the_agent(name, format, tmp_path):
    agent, hundred, expected = normalised(name)
    agent.export_policy(tmp_path / "policy", format)
    policy = kerasrl.load_policy(tmp_path / "policy")
    space = agent.action_space
    assert policy.action_space == space
    assert policy.observation_space == agent.observation_space
    assert len(np.unique(expected, axis=0)) > 1
    one = tf.nest.map_structure(lambda x: x[3:4], hundred)
    tolerance = 0 if space.dtype.kind == "i" else 1e-5
    for actions, known in ((policy.act(hundred), expected), (policy.act(one), expected[3:4])):
        np.testing.assert_allclose(actions, known, rtol=tolerance, atol=tolerance)
        assert actions.dtype == space.dtype
        assert all(space.contains(np.asarray(action)) for action in actions)
    np.testing.assert_array_equal(policy(tf.nest.flatten(hundred)), policy.act(hundred))
    assert policy.info["signatures"] == ["act", "sample"][: 1 + (name in SAMPLED)]
    if name in SAMPLED:
        sampled = policy.sample(hundred)
        assert sampled.dtype == space.dtype
        assert all(space.contains(np.asarray(action)) for action in sampled)
        assert (sampled != policy.sample(hundred)).any()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (), np.float32),
        Box(-1, 1, (2, 3), np.float64),
        Box(0, 255, (6, 6, 1), np.uint8),
        Discrete(5, start=-2),
        spaces.Tuple([Box(-5, 5, (3,), np.int32), spaces.MultiBinary(3)]),
        spaces.Dict({"A": Box(-1, 1, (2,)), "a": Box(-1, 1, (3,)), "é b": Box(-1, 1, (4,))}),
    ],
    ids=["scalar", "float64", "image", "Discrete", "Tuple", "odd names"],
)
@pytest.mark.table
def test_observations_of_any_space(space, format, tmp_path):
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(int(np.prod(leaf.shape)), 2)) for _, leaf in space_leaves(space)]

    def act(observation):  # Every element of every leaf counts.
        leaves = [tf.cast(leaf, tf.float32) for leaf in tf.nest.flatten(observation)]
        flat = [tf.reshape(leaf, (-1, len(w))) for leaf, w in zip(leaves, weights, strict=True)]
        return tf.add_n(
            [x @ tf.constant(w, tf.float32) for x, w in zip(flat, weights, strict=True)]
        )

    spec = EnvSpec(space, Box(-np.inf, np.inf, (2,), np.float32))
    info = {"agent": "Mine", "env_steps": 0, "gradient_steps": 0, "results": None}
    policies.export_policy(tmp_path / "policy", {"act": act}, spec, info, format)
    policy = kerasrl.load_policy(tmp_path / "policy")
    for count in (1, 7):
        batch = observations(space, count)
        np.testing.assert_allclose(policy.act(batch), act(batch), rtol=1e-5, atol=1e-4)


def test_actions_are_of_the_spaces_dtype(tmp_path):
    agent = built("DQN", Box(-1, 1, (4,)), Discrete(3, start=5, dtype=np.int32))
    agent.export_policy(tmp_path / "policy")
    batch = observations(Box(-1, 1, (4,)), 20)
    actions = kerasrl.load_policy(tmp_path / "policy").act(batch)
    assert actions.dtype == np.int32
    np.testing.assert_array_equal(actions, agent.predict(batch, verbose=0))


ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kerasrl":
            raise ImportError("kerasrl is not installed")

sys.meta_path.insert(0, Refuse())
import numpy as np, tensorflow as tf
try:
    import kerasrl
except ImportError:
    pass
else:
    raise SystemExit("kerasrl can be imported")

with np.load("expected.npz") as file:
    leaves, expected = [file[f"leaf_{i}"] for i in range(6)], file["action"]
observation = {
    "choices": leaves[0],
    "image": leaves[1],
    "pair": (leaves[2], {"bits": leaves[3], "scalar": leaves[4]}),
    "vector": leaves[5],
}
names = [
    "observation_choices", "observation_image", "observation_pair_0", "observation_pair_1_bits",
    "observation_pair_1_scalar", "observation_vector",
]
named = {name: tf.constant(leaf) for name, leaf in zip(names, leaves)}

loaded = tf.saved_model.load("saved_model")
assert set(loaded.signatures) == {"act", "sample", "serving_default"}, loaded.signatures
one = tf.nest.map_structure(lambda leaf: leaf[:1], observation)
results = [
    loaded.act(observation),
    tf.concat([loaded.act(one), loaded.act(observation)[1:]], 0),
    loaded.signatures["act"](**named)["action"],
    loaded.signatures["serving_default"](**named)["action"],
]
interpreter = tf.lite.Interpreter("tflite/policy.tflite")
assert set(interpreter.get_signature_list()) == {"act", "sample"}
assert interpreter.get_signature_list()["act"] == {"inputs": names, "outputs": ["action"]}
run = interpreter.get_signature_runner("act")
results.append(run(**dict(zip(names, leaves)))["action"])
for actions in results:
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
    assert actions.dtype == np.float32
sample = interpreter.get_signature_runner("sample")
for actions in (loaded.sample(observation), sample(**dict(zip(names, leaves)))["action"]):
    assert actions.shape == expected.shape and (np.array(actions) != expected).any()
assert not [name for name in sys.modules if name.split(".")[0] == "kerasrl"]
print("acts alone")
"""


@pytest.mark.thorough
@pytest.mark.fault(68)
def test_it_acts_where_kerasrl_is_not_installed(tmp_path):
    agent, batch, expected = normalised("SAC")
    for format in FORMATS:
        agent.export_policy(tmp_path / format, format)
    leaves = {f"leaf_{i}": leaf for i, leaf in enumerate(tf.nest.flatten(batch))}
    np.savez(tmp_path / "expected.npz", action=expected, **leaves)
    process = subprocess.run(
        [sys.executable, "-I", "-c", ALONE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert process.stdout == "acts alone\n", process.stderr[-3000:]


def test_the_names_of_inputs():
    leaf = Box(-1, 1, (2,))
    assert input_names(leaf) == ["observation"]
    assert input_names(spaces.Tuple([leaf, spaces.Dict(b=leaf, a=leaf)])) == [
        "observation_0",
        "observation_1_a",
        "observation_1_b",
    ]
    assert input_names(spaces.Dict({"my camera/2": leaf})) == ["observation_my_camera_2"]
    for alike in ({"a b": leaf, "a_b": leaf}, {"A": leaf, "a": leaf}):
        assert input_names(spaces.Dict(alike)) == ["observation_0", "observation_1"]
    assert input_names(spaces.Dict({"a_0": leaf, "a": spaces.Tuple([leaf])})) == [
        "observation_0",
        "observation_1",
    ]


@pytest.mark.thorough
def test_policy_json_describes_the_policy(make_agent, batches, tmp_path):
    agent = make_agent("sac")
    agent.fit(batches(agent, count=3), verbose=0)
    agent.env_steps.assign(1234)
    results = {"episode_return": -7.5, "episode_return_std": 0.5, "episode_length": 200.0}
    agent.export_policy(tmp_path / "policy", results=results)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "policy/policy.json").read_text()
    info = json.loads(text, parse_constant=refuse)
    assert info == kerasrl.load_policy(tmp_path / "policy").info
    files = info.pop("files")
    assert set(files) == {str(path) for path in contents(tmp_path / "policy")} - {"policy.json"}
    assert "saved_model.pb" in files
    spec = EnvSpec(agent.observation_space, agent.action_space).get_config()
    assert info == {
        "format_version": 1,
        "format": "saved_model",
        "agent": "SAC",
        "env_steps": 1234,
        "gradient_steps": 3,
        "results": results,
        "versions": {
            "kerasrl": kerasrl.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
        "signatures": ["act", "sample"],
        "inputs": ["observation"],
        "output": "action",
        **spec,
    }


def test_infinite_bounds_are_json_too(tmp_path):
    agent = built("PPO", Box(-np.inf, np.inf, (2,)))
    agent.export_policy(tmp_path / "policy")
    info = json.loads((tmp_path / "policy/policy.json").read_text())
    assert info["observation_space"]["low"] == "-Infinity"
    assert info["action_space"]["high"] == [-0.5, "Infinity"]
    assert kerasrl.load_policy(tmp_path / "policy").action_space == HALF_OPEN


def test_a_policy_is_evaluated_like_any_other(tmp_path):
    agent = built("DQN", Box(-1, 1, (4,)), Discrete(2))
    agent.export_policy(tmp_path / "policy", "tflite")
    policy = kerasrl.load_policy(tmp_path / "policy")
    env = lambda: RandomEnv(Box(-1, 1, (4,)))  # noqa: E731
    own = kerasrl.evaluate(env, agent, episodes=6, num_envs=2, seed=3)
    assert kerasrl.evaluate(env, policy, episodes=6, num_envs=2, seed=3) == own


@pytest.mark.parametrize("name", ["SAC", "REINFORCE"])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.table
def test_every_load_draws_others(name, format, tmp_path):
    agent = built(name, Box(-1, 1, (3,)))  # It sets TensorFlow's seed.
    agent.export_policy(tmp_path / "policy", format)
    batch = np.zeros((200, 3), np.float32)
    drawn = [kerasrl.load_policy(tmp_path / "policy").sample(batch) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()
    later = agent.sample(batch).numpy()
    assert abs(later.mean() - drawn[0].mean()) < 0.5


@pytest.mark.thorough
def test_exporting_changes_nothing(make_agent, batches, tmp_path):
    def trained(export):
        agent = make_agent("sac")
        agent.fit(batches(agent, count=3), verbose=0)
        before = agent.get_weights()
        tf.random.set_seed(5)
        if export:
            agent.export_policy(tmp_path / "policy")
            agent.export_policy(tmp_path / "lite", "tflite")
        for one, other in zip(before, agent.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        drawn = [random.random(), np.random.random(), float(tf.random.normal(()))]
        agent.fit(batches(agent, count=3, seed=1), verbose=0)
        return agent.get_weights(), drawn

    (weights, drawn), (expected, known) = trained(True), trained(False)
    assert drawn == known
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_policy_is_of_the_moment_it_was_exported(tmp_path):
    agent = tiny()
    agent.export_policy(tmp_path / "policy")
    policy, batch = kerasrl.load_policy(tmp_path / "policy"), observations(Box(-1, 1, (4,)), 50)
    before = policy.act(batch)
    agent.q_network.layers[0].kernel.assign(-agent.q_network.layers[0].kernel)
    assert (agent.predict(batch, verbose=0) != before).any()
    np.testing.assert_array_equal(policy.act(batch), before)
    agent.export_policy(tmp_path / "policy")
    np.testing.assert_array_equal(policy.act(batch), before)
    again = kerasrl.load_policy(tmp_path / "policy")
    np.testing.assert_array_equal(again.act(batch), agent.predict(batch, verbose=0))


@pytest.mark.thorough
def test_twenty_exports_leave_nothing_behind(tmp_path):
    agent = tiny()

    def left():
        gc.collect()
        graphs = sum(isinstance(thing, tf.Graph) for thing in gc.get_objects())
        return graphs, len(os.listdir("/proc/self/fd"))

    agent.export_policy(tmp_path / "policy")
    before, files = left(), len(contents(tmp_path))
    attributes = set(vars(agent))
    for _ in range(20):
        agent.export_policy(tmp_path / "policy")
    # What tests before this one left may go in the meantime.
    assert np.less_equal(left(), before).all()
    assert os.listdir(tmp_path) == ["policy"]
    assert len(contents(tmp_path)) == files == 5
    assert set(vars(agent)) == attributes


def test_an_agent_that_is_not_built_has_no_policy(tmp_path):
    with pytest.raises(AgentStateError, match=r"SAC is not built.*build\(env\)"):
        kerasrl.SAC().export_policy(tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_what_is_not_an_export_is_not_replaced(tmp_path):
    agent = tiny()
    (tmp_path / "notes.txt").write_text("years of work")
    with pytest.raises(ArgumentError, match="holds something else, which would be lost"):
        agent.export_policy(tmp_path)
    with pytest.raises(ArgumentError, match=r"notes\.txt is a file"):
        agent.export_policy(tmp_path / "notes.txt")
    assert contents(tmp_path).popitem()[1] == b"years of work"
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    agent.export_policy(tmp_path / "link")
    assert kerasrl.load_policy(tmp_path / "empty").info["agent"] == "DQN"
    assert sorted(os.listdir(tmp_path)) == ["empty", "link", "notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"format": "onnx"}, "format must be one of saved_model, tflite; received 'onnx'"),
        ({"results": [1.0]}, r"results must be a dict.*received \[1.0\]"),
        ({"results": {"episode_return": float("nan")}}, "finite numbers"),
        ({"results": {"episode_return": "high"}}, "finite numbers"),
    ],
)
def test_bad_arguments_are_refused(arguments, match, tmp_path):
    with pytest.raises(ArgumentError, match=match):
        tiny().export_policy(tmp_path / "policy", **arguments)
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("test_export")
class Determinant(keras.layers.Layer):
    def call(self, inputs):
        return inputs * tf.linalg.det(inputs[:, tf.newaxis] * tf.eye(2))[:, tf.newaxis]


@keras.saving.register_keras_serializable("test_export")
class CallsPython(keras.layers.Layer):
    def call(self, inputs):
        return tf.ensure_shape(tf.py_function(lambda x: x, [inputs], tf.float32), inputs.shape)


@keras.saving.register_keras_serializable("test_export")
class LooksUp(keras.layers.Layer):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        keys = tf.constant([0, 1], tf.int64)
        values = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([1.0, 2.0]))
        self.table = tf.lookup.StaticHashTable(values, 0.0)

    def call(self, inputs):
        return inputs + self.table.lookup(tf.zeros((), tf.int64))


@pytest.mark.parametrize(
    ("layer", "format", "match"),
    [
        (
            Determinant,
            "tflite",
            'has no MatrixDeterminant for these dtypes. Change the network, .*"saved_model"',
        ),
        (CallsPython, "saved_model", "py_function or tf.numpy_function, cannot be exported"),
        (CallsPython, "tflite", "py_function or tf.numpy_function, cannot be exported"),
        (LooksUp, "saved_model", "nothing but variables, and no lookup tables"),
    ],
)
@pytest.mark.table
def test_networks_that_cannot_be_exported(layer, format, match, tmp_path):
    agent = tiny()
    agent.export_policy(tmp_path / "policy")
    before = contents(tmp_path)
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), layer()])
    other = built("DQN", Box(-1, 1, (4,)), Discrete(2), q_network=network)
    with pytest.raises(NetworkError, match=match):
        other.export_policy(tmp_path / "policy", format)
    assert contents(tmp_path) == before


def test_wrong_numbers_of_a_conversion_are_noticed(monkeypatch, tmp_path):
    agent = tiny()
    agent.export_policy(tmp_path / "policy", "tflite")
    model = (tmp_path / "policy/policy.tflite").read_bytes()
    kernel = agent.q_network.layers[0].kernel
    kernel.assign(-kernel)
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", lambda *_, **__: converter)
    converter = type("Converter", (), {"convert": lambda self: model})()
    with pytest.raises(NetworkError, match="computes other actions"):
        agent.export_policy(tmp_path / "policy", "tflite")


FULL = """
import os, pathlib, resource, sys
import gymnasium as gym, kerasrl

agent = kerasrl.SAC()
agent.build(kerasrl.envs.EnvSpec(gym.spaces.Box(-1, 1, (4,)), gym.spaces.Box(-1, 1, (2,))))
contents = lambda: {p: p.read_bytes() for p in pathlib.Path(".").rglob("*") if p.is_file()}
for format in ("saved_model", "tflite"):
    agent.export_policy(format, format)
before = contents()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for format in ("saved_model", "tflite"):
    for limit in (1_000, 60_000, 200_000):  # A description, a graph and the weights.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            agent.export_policy(format, format)
        except kerasrl.errors.SaveError as error:
            assert "could not be written" in str(error) and "MiB free" in str(error), error
        else:
            raise SystemExit(f"{format} was written within {limit} bytes")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert contents() == before, (format, limit)
        assert sorted(os.listdir()) == ["saved_model", "tflite"], os.listdir()
        kerasrl.load_policy(format)
print("the policies are whole")
"""


@pytest.mark.thorough
@pytest.mark.fault(47)
def test_a_full_disk_leaves_the_policy_before(run_python, tmp_path):
    output = run_python(f"import os; os.chdir({str(tmp_path)!r})\n{FULL}")
    assert output.endswith("the policies are whole\n"), output


MIRRORED = """
import os, tempfile
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras, kerasrl
from kerasrl.callbacks import Collect, PolicyExport

os.chdir(tempfile.mkdtemp())
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    agent = kerasrl.SAC(normalize_observations=True)
    agent.compile()
agent.fit(
    "Pendulum-v1", epochs=1, steps_per_epoch=2, batch_size=32, verbose=0,
    callbacks=[Collect(warmup_steps=64), PolicyExport("during", every_epochs=1, monitor=None)],
)
agent.export_policy("saved_model")
agent.export_policy("tflite", "tflite")
batch = np.random.default_rng(0).uniform(-1, 1, (100, 3)).astype(np.float32)
expected = agent(batch).numpy()
assert (expected != expected[0]).any()
for directory in ("during/epoch-0001", "saved_model", "tflite"):
    policy = kerasrl.load_policy(directory)
    np.testing.assert_allclose(policy.act(batch), expected, rtol=1e-5, atol=1e-5)
    assert policy.info["gradient_steps"] == 2
print("two replicas have one policy")

tf.config.experimental.enable_op_determinism()
tf.random.set_seed(0)
agent.export_policy("repeatable")
first = kerasrl.load_policy("repeatable").sample(batch)
np.testing.assert_array_equal(kerasrl.load_policy("repeatable").sample(batch), first)
assert (first != expected).any()
print("operations may be deterministic")
"""


@pytest.mark.slow
def test_policies_of_two_replicas_and_of_repeatable_runs(run_python):
    output = run_python(MIRRORED)
    assert "two replicas have one policy\n" in output, output
    assert "operations may be deterministic\n" in output, output
