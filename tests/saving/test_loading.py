"""Agents that come back from files."""

import json
import os
import zipfile

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.compatibility import KERAS_3, variables_of
from kerasrl.envs import EnvSpec
from kerasrl.errors import LoadError, MismatchError, UnsafeFileError
from kerasrl.saving.forms import canonical

KINDS = ["a2c", "d4pg", "ddpg", "dqn", "ppo", "reinforce", "sac", "td3"]
Dense, Input, Sequential = keras.layers.Dense, keras.Input, keras.Sequential


@pytest.fixture
def saved(tmp_path):
    def save(agent):
        path = tmp_path / "agent.keras"
        agent.save(path)
        return path

    return save


def built(agent, env="CartPole-v1", **compiled):
    agent.build(env)
    agent.compile(**compiled)
    return agent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_an_agent_comes_back_and_goes_on_as_if_nothing_had_been(
    kind, make_agent, batches, examples, saved, shuffled, same_state
):
    agent = shuffled(make_agent(kind, {"run_eagerly": True}))
    data = batches(agent, count=2)
    if kind in ("a2c", "ppo", "reinforce"):
        data = tf.data.Dataset.from_tensor_slices(examples(agent)).batch(4)
    path = saved(agent)
    loaded = kerasrl.load(path)
    assert type(loaded) is type(agent)
    assert same_state(agent, loaded)
    if KERAS_3:
        with pytest.raises(ValueError, match="agents are loaded with kerasrl.load"):
            keras.models.load_model(path)
    else:
        assert same_state(agent, keras.models.load_model(path))
    assert loaded.get_compile_config() == agent.get_compile_config()
    assert loaded.get_build_config() == agent.get_build_config()
    observation = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(observation), agent(observation))
    for batch in data:
        results = [one.train_step(batch) for one in (agent, loaded)]
        assert all((results[0][name] == results[1][name]).numpy() for name in agent.log_names)
    assert same_state(agent, loaded)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_default_networks_come_back(kind, saved, shuffled, same_state):
    env = "CartPole-v1" if kind in ("dqn", "a2c", "reinforce") else "Pendulum-v1"
    agent = built(getattr(kerasrl, kind.upper())(normalize_observations=True), env)
    assert same_state(shuffled(agent), kerasrl.load(saved(agent)))


@pytest.mark.thorough
def test_a_loaded_agent_evaluates_the_same_and_fits_on(saved, make_agent, tiny_env, small_replay):
    agent = make_agent("dqn")
    arguments = {"env_steps": 50, "epochs": 1, "batch_size": 4, "verbose": 0, "seed": 0}
    arguments["callbacks"] = [kerasrl.callbacks.Collect(1, warmup_steps=32)]
    agent.fit(tiny_env(), replay=small_replay(), **arguments)
    loaded = kerasrl.load(saved(agent))
    results = [one.evaluate(tiny_env(), seed=0, verbose=0) for one in (agent, loaded)]
    assert results[0] == results[1]
    loaded.fit(tiny_env(), replay=small_replay(), **arguments)
    assert int(loaded.env_steps) == 100


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)),
        lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True),
        lambda: keras.optimizers.RMSprop(0.1, centered=True, global_clipnorm=1.0),
        lambda: keras.optimizers.Lion(),
        lambda: keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
    ],
    ids=["exponential", "cosine", "momentum", "rmsprop", "lion", "loss scale"],
)
@pytest.mark.table
def test_optimizers_come_back_with_their_schedules(optimizer, saved, shuffled, same_state):
    agent = built(kerasrl.DQN(Sequential([Input((4,)), Dense(2)])), optimizer=optimizer())
    loaded = kerasrl.load(saved(shuffled(agent)))
    assert same_state(agent, loaded)
    one, other = (canonical(each.get_compile_config()) for each in (loaded, agent))
    assert one == other


def test_weights_that_a_schedule_set_come_back(saved, tiny_env, make_agent, small_replay):
    agent = make_agent("dqn")
    agent.fit(
        tiny_env(),
        env_steps=50,
        epochs=1,
        batch_size=4,
        callbacks=[
            kerasrl.callbacks.Collect(1, warmup_steps=32),
            kerasrl.callbacks.LinearSchedule("epsilon", 1.0, 0.0, env_steps=100),
        ],
        replay=small_replay(),
        verbose=0,
    )
    loaded = kerasrl.load(saved(agent))
    assert float(loaded.epsilon) == pytest.approx(0.5)
    assert int(loaded.env_steps) == 50


def _layers():
    layers, inputs = keras.layers, Input((4,))
    x = layers.Reshape((2, 2))(inputs)
    x = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))(x)
    x = layers.TimeDistributed(Dense(3, "selu", kernel_regularizer="l2"))(x)
    x = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.Dropout(0.1)(layers.BatchNormalization()(layers.Flatten()(x)))
    x = Dense(5, keras.layers.LeakyReLU(0.2), kernel_constraint="max_norm")(x)
    return keras.Model(inputs, Dense(2, "swish")(layers.PReLU()(x)))


def _ours():
    networks, inputs = kerasrl.networks, Input((4,))
    x = networks.LayerNormMLP((8, 6))(networks.ObservationNormalization()(inputs))
    x = networks.DuelingHead(2)(networks.MLP((4,), "gelu")(x))
    return keras.Model(inputs, networks.ClipToSpec(-9.0, 9.0)(x))


def _twice():
    inputs = Input((4,))
    inner, head = Sequential([Dense(8), Dense(8)]), Dense(2)
    return keras.Model(
        inputs, keras.layers.Add()([head(inner(inputs)), head(Dense(8, "relu")(inputs))])
    )


def _trained_before():
    network = Sequential([Input((4,)), Dense(2)])
    network.compile("adam", "mse", metrics=["mae"])
    network.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
    return network


@pytest.mark.parametrize(
    "network",
    [_layers, _ours, _twice, _trained_before, lambda: Sequential([Dense(4, "relu"), Dense(2)])],
    ids=["layers", "ours", "twice", "trained before", "without input"],
)
@pytest.mark.table
def test_networks_of_the_user_come_back(network, saved, shuffled):
    agent = built(kerasrl.DQN(network()), jit_compile=False)
    loaded = kerasrl.load(saved(shuffled(agent)))
    observation = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    for one, other in zip(agent.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(
        loaded.q_network(observation), agent.q_network(observation), rtol=1e-6
    )


def test_images_and_inputs_of_any_size_come_back(saved, shuffled, same_state):
    layers = [keras.layers.Conv2D(4, 3, 2), keras.layers.GlobalAveragePooling2D(), Dense(2)]
    network = Sequential([Input((None, None, 1)), keras.layers.Rescaling(1 / 255), *layers])
    space = gym.spaces.Box(0, 255, (40, 30, 1), np.uint8)
    agent = built(kerasrl.DQN(network), EnvSpec(space, gym.spaces.Discrete(2)))
    assert same_state(shuffled(agent), kerasrl.load(saved(agent)))


def test_nested_spaces_come_back(saved, shuffled, same_state):
    spaces = gym.spaces
    observation = spaces.Dict(  # Keys that mean something in the config of a space, too.
        {
            "shape": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
            "spaces": spaces.Tuple([spaces.MultiBinary([2, 2]), spaces.MultiDiscrete([2, 3])]),
            "n": spaces.Discrete(3, start=-5),
        }
    )
    agent = built(kerasrl.PPO(), EnvSpec(observation, spaces.MultiDiscrete([2, 3])))
    loaded = kerasrl.load(saved(shuffled(agent)))
    assert same_state(agent, loaded)
    assert loaded.observation_space == observation


@pytest.mark.parametrize("shared", ["layer", "ours", "model"])
@pytest.mark.table
def test_a_layer_that_two_networks_share_is_one_again(shared, saved, shuffled, same_state):
    inputs = Input((4,))
    torso = {
        "layer": Dense(8, "tanh"),
        "ours": kerasrl.networks.MLP((8,)),
        "model": Sequential([Input((4,)), Dense(8), Dense(8)]),
    }[shared]
    actor = keras.Model(inputs, Dense(2)(torso(inputs)))
    critic = keras.Model(inputs, Dense(1)(torso(inputs)))
    agent = built(kerasrl.A2C(actor, critic))
    loaded = kerasrl.load(saved(shuffled(agent)))
    assert same_state(agent, loaded)
    assert loaded.actor.layers[1] is loaded.critic.layers[1]
    assert len(loaded.trainable_variables) == len(agent.trainable_variables)


def test_which_layers_are_shared_must_be_clear(saved):
    def network(layer, outputs):
        return keras.Model(inputs := Input((4,)), Dense(outputs)(layer(inputs)))

    class Three(kerasrl.A2C):
        def __init__(self, first, **arguments):
            super().__init__(**arguments)
            self.first = first

        def get_config(self):
            serialize = keras.saving.serialize_keras_object
            return {"first": serialize(self.first), **super().get_config()}

    shared = Dense(8, name="hidden")
    other = Dense(8, name="hidden")
    agent = Three(network(other, 2), actor=network(shared, 2), critic=network(shared, 1))
    path = saved(built(agent))
    with pytest.raises(LoadError, match="several layers of the same name"):
        kerasrl.load(path, {"Three": Three})


def test_an_agent_that_is_not_built_or_not_compiled_comes_back_so(saved, same_state):
    agent = kerasrl.DQN(double=True)
    with pytest.warns(UserWarning, match="not yet been built"):
        path = saved(agent)
    loaded = kerasrl.load(path)
    assert not loaded.built and loaded.double
    agent.build("CartPole-v1")
    loaded = kerasrl.load(saved(agent))
    assert loaded.built and loaded.get_compile_config() is None
    for one, other in zip(agent.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_slots_are_saved_before_the_first_step_too(saved, make_agent):
    loaded = kerasrl.load(saved(make_agent("dqn", {"optimizer": keras.optimizers.Adam()})))
    assert len(variables_of(loaded.optimizer)) == 1 + 2 * 4


@keras.saving.register_keras_serializable("tests")
class Named(keras.Model):
    def __init__(self, outputs, **kwargs):
        super().__init__(**kwargs)
        self.values = Dense(outputs)
        self.width = outputs

    def call(self, inputs):
        return self.values(inputs)

    def get_config(self):
        return {"outputs": self.width, "name": self.name}


class Halve(keras.layers.Layer):
    def call(self, inputs):
        return inputs / 2


def double(x):
    return 2 * x


@keras.saving.register_keras_serializable("tests")
class OtherDQN(kerasrl.DQN):
    pass


CUSTOM = {
    "registered model": (lambda: kerasrl.DQN(Named(2)), {"Named": Named}),
    "layer": (lambda: kerasrl.DQN(Sequential([Input((4,)), Halve(), Dense(2)])), {"Halve": Halve}),
    "function": (
        lambda: kerasrl.PPO(Sequential([Input((4,)), Dense(2, double)])),
        {"double": double},
    ),
    "agent": (lambda: OtherDQN(Sequential([Input((4,)), Dense(2)])), {"OtherDQN": OtherDQN}),
    "of Keras": (
        lambda: kerasrl.DQN(Sequential([Input((4,)), keras.layers.EinsumDense("ab,bc->ac", 2)])),
        {"EinsumDense": keras.layers.EinsumDense},
    ),
}


@pytest.mark.fault(62)
@pytest.mark.parametrize("kind", CUSTOM)
@pytest.mark.table
def test_classes_and_functions_of_the_user_must_be_named(kind, saved, shuffled, same_state):
    make, objects = CUSTOM[kind]
    with keras.saving.custom_object_scope(objects):
        agent = built(make())
    path = saved(shuffled(agent))
    assert same_state(agent, kerasrl.load(path, custom_objects=objects))
    (name,) = objects
    by_another_name = {"registered model": {"x": Named}, "agent": {"x": OtherDQN}}
    if kind in by_another_name:
        assert same_state(agent, kerasrl.load(path, custom_objects=by_another_name[kind]))
    with pytest.raises(UnsafeFileError, match=rf'custom_objects=\{{"{name}": \.\.\.\}}'):
        kerasrl.load(path)


@pytest.mark.fault(62)
def test_another_class_than_the_one_that_is_registered_does_not_count(saved):
    path = saved(built(kerasrl.DQN(Named(2))))
    with pytest.raises(UnsafeFileError, match="Named"):
        kerasrl.load(path, custom_objects={"Named": Halve})


REPLICAS = """
import keras, tensorflow as tf, kerasrl
from kerasrl import saving
from kerasrl.saving.weights import arrays_of

(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    agent = kerasrl.PPO()
agent.build("CartPole-v1")
agent.compile()
agent.save({path!r})
loaded = [kerasrl.load({path!r})]
with strategy.scope():
    loaded.append(kerasrl.load({path!r}))
saving.restore(agent, {path!r})
for one in (*loaded, agent):
    for name, array in arrays_of(one).items():
        assert name.startswith("metrics/") or (array == arrays_of(agent)[name]).all(), name
assert loaded[1].distribute_strategy.num_replicas_in_sync == 2
print("equal")
"""


@pytest.mark.slow
def test_an_agent_comes_back_on_several_replicas(run_python, tmp_path):
    output = run_python(REPLICAS.format(path=str(tmp_path / "agent.keras")))
    assert output.splitlines()[-1] == "equal"


@pytest.mark.fault(51)
@pytest.mark.parametrize("written", ["kerasrl", "keras"])
def test_a_file_of_a_newer_version_is_refused(written, forge):
    if written == "keras":
        members = {**forge.members(), "metadata.json": '{"keras_version": "9.16.1"}'}
        path, rule = forge.write(members), r"keras +\d+\.\d+\.\d+ +9\.16\.1"
    else:
        path, rule = forge.write(forge.members()), r"kerasrl +0\.\d+\.\d+ +7\.0\.0"
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = json.dumps({"kerasrl": "7.0.0"}).encode()
    with pytest.raises(MismatchError, match=rule):
        kerasrl.load(path)


def test_the_file_says_the_version(dqn_file):
    with zipfile.ZipFile(dqn_file) as archive:
        assert json.loads(archive.comment) == {"kerasrl": kerasrl.__version__}


@pytest.mark.keras_2  # Keras 3 finds that the next layer was built for another size.
@pytest.mark.fault(51)
def test_weights_of_other_sizes_than_the_config_says_are_shown(forge):
    with pytest.raises(MismatchError) as raised:
        kerasrl.load(forge.with_layer(1, units=7))
    lines = str(raised.value).splitlines()
    assert ["what", "here", "in", "the", "file"] in [line.split() for line in lines]
    assert any("float32[4, 7]" in line and "float32[4, 8]" in line for line in lines)


def test_what_is_no_agent_says_so(tmp_path):
    model = Sequential([Input((4,)), Dense(2)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(LoadError, match="holds a Sequential, and no agent.*load_model"):
        kerasrl.load(tmp_path / "model.keras")
    for content, rule in [(b"", "not a .keras file"), (b"x" * 99999, "not a .keras file")]:
        (tmp_path / "other.keras").write_bytes(content)
        with pytest.raises(LoadError, match=rule):
            kerasrl.load(tmp_path / "other.keras")
    with pytest.raises(LoadError, match="none.keras cannot be loaded: No such file"):
        kerasrl.load(tmp_path / "none.keras")
    with pytest.raises(LoadError, match="it is a directory"):
        kerasrl.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match="it is not a file"):
        kerasrl.load(tmp_path / "pipe")


@pytest.mark.parametrize("size", [10, 1000, 0.5, 0.999])
def test_a_file_that_is_cut_off_says_so(size, dqn_file, tmp_path):
    whole = dqn_file.read_bytes()
    path = tmp_path / "cut.keras"
    path.write_bytes(whole[: size if size > 1 else int(size * len(whole))])
    with pytest.raises(LoadError, match="cut.keras cannot be loaded: it is not a .keras file"):
        kerasrl.load(path)


def test_flipped_bits_are_found(dqn_file, tmp_path):
    whole = bytearray(dqn_file.read_bytes())
    path = tmp_path / "flipped.keras"
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(LoadError, match="it is damaged: Bad CRC-32"):
        kerasrl.load(path)
