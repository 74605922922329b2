"""TensorFlow operations between layers: what is saved is loaded, and no file can misuse them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.errors import LoadError, SaveError, UnsafeFileError

Dense = keras.layers.Dense
MODULE = "keras.src.layers.core.tf_op_layer"


def agent_with(head):
    inputs = keras.Input((4,))
    agent = kerasrl.DQN(keras.Model(inputs, head(inputs)))
    agent.build("CartPole-v1")
    return agent


def dueling(x):
    value, advantage = Dense(1)(x), Dense(2)(x)
    return value + advantage - tf.reduce_mean(advantage, axis=1, keepdims=True)


def arithmetic(x):
    y = 1.0 - 2 / (x**2 + abs(x) + 1) - (-x) * 3 + x / 2 - x % 2.0
    y = tf.where((x > 0) & (x < 1), y, tf.zeros_like(y)) + tf.cast(x >= 0, "float32")
    return Dense(2)(tf.clip_by_value(y, -1.0, 1.0) * tf.constant([1.0, 2.0, 3.0, 4.0]))


def shapes(x):
    y = tf.transpose(tf.stack([x, tf.nn.relu(x)], axis=1), [0, 2, 1])
    y = tf.reshape(y, [tf.shape(x)[0], 8])
    sliced = tf.concat([x[:, :3], x[:, None][:, 0], x[:, ::2], x[:, 3:]], axis=-1)
    left, right = tf.split(sliced, 2, axis=-1)
    squared = tf.squeeze(tf.matmul(x[:, None], tf.expand_dims(x, 2)), -1)
    return Dense(2)(tf.concat([y, left, right, squared], -1))


def choices(x):
    hot = tf.one_hot(tf.cast(tf.argmax(x, -1), tf.int32), 5)
    return Dense(2)(tf.concat([hot, tf.gather(tf.nn.softmax(x), [0, 3], axis=1)], -1))


def functions(x):
    parts = [tf.sqrt(tf.abs(x)), tf.exp(x), tf.tanh(x), tf.math.log1p(tf.square(x))]
    parts += [tf.stop_gradient(x), tf.sigmoid(x), tf.nn.leaky_relu(x, 0.1), tf.maximum(x, 0.0)]
    total = tf.add_n(parts) + tf.math.l2_normalize(x, axis=-1)
    return Dense(2)(total - tf.reduce_logsumexp(total, -1, keepdims=True))


@pytest.mark.keras_2
@pytest.mark.regression(18)
@pytest.mark.parametrize("head", [dueling, arithmetic, shapes, choices, functions])
@pytest.mark.table
def test_what_is_saved_is_loaded(head, tmp_path):
    agent = agent_with(head)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    observation = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(observation), agent(observation))
    expected = agent.q_network(observation)
    np.testing.assert_array_equal(loaded.q_network(observation), expected)


class Doubling(keras.layers.Layer):
    """A user's, registered by nobody."""

    def call(self, inputs):
        return 2 * inputs


@keras.saving.register_keras_serializable("tests")
def double(x):
    return 2 * x


@pytest.mark.regression(18)
@pytest.mark.parametrize(
    ("head", "custom_objects"),
    [
        (lambda x: Dense(2)(Doubling()(x)), {"Doubling": Doubling}),
        (lambda x: Dense(2, activation=double)(x), {"double": double}),
        (
            lambda x: Dense(2)(keras.layers.Normalization(mean=0.0, variance=1.0)(x)),
            {"Normalization": keras.layers.Normalization},
        ),
    ],
    ids=["layer", "function", "Keras"],
)
def test_what_the_user_can_name_is_saved(head, custom_objects, tmp_path):
    agent = agent_with(head)
    agent.save(tmp_path / "agent.keras")
    with pytest.raises(UnsafeFileError, match="custom_objects"):
        kerasrl.load(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras", custom_objects=custom_objects)
    observation = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(loaded.q_network(observation), agent.q_network(observation))


@pytest.mark.keras_2
@pytest.mark.regression(18)
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (lambda x: Dense(2)(tf.tile(x, [1, 2])), r"tf\.tile between layers.*layer of your own"),
        (lambda x: Dense(2)(tf.repeat(x, 2, axis=1)), r"tf\.repeat between layers"),
        (lambda x: Dense(2)(tf.random.normal(tf.shape(x)) + x), r"tf\.random\.normal between"),
        (lambda x: Dense(2)(keras.layers.Lambda(double)(x)), "Lambda.*layers that are classes"),
        (lambda x: Dense(2)(x[..., :3]), "Ellipsis.*write them with `:`"),
    ],
    ids=["tile", "repeat", "random", "Lambda", "Ellipsis"],
)
@pytest.mark.table
def test_what_could_not_be_loaded_is_not_saved(head, reason, tmp_path):
    path = tmp_path / "agent.keras"
    agent_with(dueling).save(path)
    before = path.read_bytes()
    with pytest.raises(SaveError, match=rf"the agent is not saved, since .*{reason}"):
        agent_with(head).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.regression(18)
def test_every_operation_in_the_list_is_one_of_tensorflow():
    from kerasrl.saving.untrusted.operations import OPERATIONS

    for name in OPERATIONS:
        place = tf
        for part in name.split("."):
            place = getattr(place, part, None)
        assert callable(place) or name.startswith("__operators__."), name


def operation(function, connections=None, kind="TFOpLambda", **config):
    node = {
        "module": MODULE,
        "class_name": kind,
        "config": {"name": "op", "trainable": True, "dtype": "float32", "function": function},
        "registered_name": kind,
        "name": "op",
        "inbound_nodes": [["INPUT", 0, 0, {}]] if connections is None else connections,
    }
    node["config"].update(config)
    return node


def on_input(**arguments):
    return [["INPUT", 0, 0, arguments]]


def on_number(number, /, **arguments):
    return [["_CONSTANT_VALUE", -1, number, arguments]]


TENSOR = ["INPUT", 0, 0]
SAVED = "/tmp/stolen"
ATTACKS = {
    "write": operation("io.write_file", on_input(contents="x")),
    "read": operation("io.read_file", on_number("/etc/passwd")),
    "load": operation("load_op_library", on_number("/tmp/x.so")),
    "saved model": operation("saved_model.load", on_number(SAVED)),
    "Keras": operation("keras.models.load_model", on_number(SAVED)),
    "Python": operation("py_function", on_input(Tout="float32")),
    "raw": operation("raw_ops.WriteFile", on_input(contents="x")),
    "dunder": operation("__operators__.__class__"),
    "module": operation("__class__.__mro__"),
    "loop": operation("while_loop", on_input(body="x")),
    "map": operation("map_fn", on_input(elems=TENSOR)),
    "fill": operation("fill", on_number([2**20], value=1.0)),
    "zeros": operation("zeros", on_number([2**30])),
    "range": operation("range", on_number(2**30)),
    "eye": operation("eye", on_number(2**20)),
    "linspace": operation("linspace", on_number(0.0, stop=1.0, num=2**30)),
    "tile": operation("tile", on_input(multiples=[1, 2**30])),
    "no name": operation(None),
    "list for a name": operation(["reshape"]),
    "more settings": operation("nn.relu", on_input(), weights=[1.0]),
    "computed at once": operation("math.add", on_number(1.0, y=2.0)),
    "computed at once, of no pair": operation("one_hot", on_number(1, depth=2**10)),
    "number for a sequence": operation("concat", on_number([1.0], axis=0)),
    "another argument": operation("nn.relu", on_input(features="x")),
    "text": operation("math.add", on_input(y="text")),
    "text in a list": operation("math.add", on_input(y=[1.0, "text"])),
    "object": operation("math.add", on_input(y={"class_name": "Lambda", "config": {}})),
    "dtype": operation("cast", on_input(dtype="resource")),
    "dtype as object": operation("cast", on_input(dtype={"class_name": "x"})),
    "name": operation("nn.relu", on_input(name=["x"])),
    "split into many": operation("split", on_input(num_or_size_splits=2**20, axis=1)),
    "deep": operation("one_hot", on_input(depth=2**20)),
    "large integer": operation("math.add", on_input(y=2**70)),
    "many numbers": operation("math.add", on_input(y=[0.0] * 5000)),
    "large shape": operation("reshape", on_input(shape=[-1, 2**30])),
    "slice of text": operation(
        "__operators__.getitem", on_input(slice_spec="x"), kind="SlicingOpLambda"
    ),
    "slice of a dict": operation(
        "__operators__.getitem", on_input(slice_spec=[{"start": 1}]), kind="SlicingOpLambda"
    ),
    "slicing by another class": operation("__operators__.getitem", on_input(slice_spec=[0])),
    "another by slicing": operation("nn.relu", kind="SlicingOpLambda"),
    "connections of dicts": operation("nn.relu", [{"x": TENSOR}]),
    "connections too short": operation("nn.relu", [TENSOR]),
    "connections of numbers": operation("nn.relu", [[1, 2, 3]]),
    "behind a stock name": {**operation("io.write_file"), "class_name": "Dense"},
    "of another module": {**operation("nn.relu"), "module": "os"},
}


def attacked(forge, node):
    def change(config):
        network = config["config"]["q_network"]["config"]
        name = network["layers"][0]["name"]
        network["layers"].append(json.loads(json.dumps(node).replace("INPUT", name)))

    return forge.with_config(change)


@pytest.mark.regression(18)
@pytest.mark.parametrize("name", ATTACKS)
def test_no_file_can_misuse_them(name, forge):
    with pytest.raises(UnsafeFileError):
        kerasrl.load(attacked(forge, ATTACKS[name]))


@pytest.mark.regression(18)
@pytest.mark.parametrize(
    "node",
    [
        operation("math.add", on_input(y=["nowhere", 0, 0])),
        operation("math.add", [["nowhere", 0, 0, {"y": 1.0}]]),
        operation("reshape", on_input(shape=[7, 7])),
    ],
)
def test_what_cannot_be_connected_is_an_error(node, forge):
    with pytest.raises(LoadError):
        kerasrl.load(attacked(forge, node))


@pytest.mark.keras_2
@pytest.mark.regression(18)
def test_a_product_does_not_exhaust_memory(forge):
    """2**16 by 2**16 numbers are 17 GB."""

    def change(config):
        network = config["config"]["q_network"]["config"]
        first = network["layers"][0]["name"]
        hot = operation("one_hot", [[first, 0, 0, {"depth": 2**16}]], name="hot")
        cast = operation("cast", [[first, 0, 0, {"dtype": "int32"}]], name="cast")
        hot["inbound_nodes"][0][0] = "cast"
        product = operation("linalg.matmul", [["hot", 0, 0, {"b": ["hot", 0, 0]}]], name="product")
        product["inbound_nodes"][0][3]["transpose_a"] = True
        out = operation("math.reduce_mean", [["product", 0, 0, {"axis": [1]}]], name="out")
        last = operation("__operators__.getitem", [["out", 0, 0, {}]], "SlicingOpLambda")
        rows = {"start": None, "stop": None, "step": None}
        last["inbound_nodes"][0][3]["slice_spec"] = [rows, {**rows, "stop": 2}]
        nodes = [cast, hot, product, out, last]
        for node in nodes:
            node["name"] = node["config"]["name"]
        network["layers"] += nodes
        network["output_layers"] = [["op", 0, 0]]

    with pytest.raises(UnsafeFileError, match="tensors of"):
        kerasrl.load(forge.with_config(change))
