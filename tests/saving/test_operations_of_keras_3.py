"""Operations between layers as Keras 3 writes them: what is saved is loaded, none is misused."""

import json

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.errors import LoadError, MismatchError, SaveError, UnsafeFileError
from kerasrl.saving.forms import canonical, native
from kerasrl.saving.untrusted.configs import check_config

Dense = keras.layers.Dense
TENSOR = {
    "class_name": "__keras_tensor__",
    "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["observation", 0, 0]},
}


@keras.saving.register_keras_serializable("tests of operations")
def double(x):
    return 2 * x


def agent_with(head):
    inputs = keras.Input((4,), name="observation")
    agent = kerasrl.DQN(keras.Model(inputs, head(inputs)))
    agent.build("CartPole-v1")
    return agent


def dueling(x):
    value, advantage = Dense(1)(x), Dense(2)(x)
    return value + advantage - keras.ops.mean(advantage, axis=1, keepdims=True)


def arithmetic(x):
    y = 1.0 - 2 / (x**2 + abs(x) + 1) - (-x) * 3 + x / 2 - x % 2.0
    y = keras.ops.where(keras.ops.logical_and(x > 0, x < 1), y, keras.ops.zeros_like(y))
    return Dense(2)(keras.ops.clip(y, -1.0, 1.0) + keras.ops.cast(x >= 0, "float32"))


def shapes(x):
    ops = keras.ops
    y = ops.reshape(ops.transpose(ops.stack([x, ops.relu(x)], axis=1), [0, 2, 1]), (-1, 8))
    sliced = ops.concatenate([x[:, :3], x[..., 2:], x[:, ::2], x[:, 3:]], axis=-1)
    squared = ops.squeeze(ops.matmul(x[:, None], ops.expand_dims(x, 2)), -1)
    return Dense(2)(ops.concatenate([y, sliced, squared], -1))


@pytest.mark.keras_3
@pytest.mark.parametrize("head", [dueling, arithmetic, shapes])
def test_what_is_saved_is_loaded(head, tmp_path):
    agent = agent_with(head)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    observation = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded.q_network(observation), agent.q_network(observation))


@pytest.mark.keras_3
@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (lambda x: Dense(2)(keras.ops.tile(x, [1, 2])), "operation Tile between layers.*of your"),
        (lambda x: Dense(2)(keras.ops.repeat(x, 2, axis=1)), "operation Repeat between layers"),
        (lambda x: Dense(2)(keras.layers.Lambda(double)(x)), "layers that are classes"),
    ],
    ids=["tile", "repeat", "Lambda"],
)
def test_what_could_not_be_loaded_is_not_saved(head, reason, tmp_path):
    with pytest.raises(SaveError, match=f"the agent is not saved, since .*{reason}"):
        agent_with(head).save(tmp_path / "agent.keras")
    assert list(tmp_path.iterdir()) == []


def layer(name="Add", module="keras.src.ops.numpy", args=(TENSOR, 1.0), kwargs=None, **config):
    return {
        "module": module,
        "class_name": name,
        "config": {"name": "op", **config},
        "registered_name": name if module.startswith("keras.src") else None,
        "name": "op",
        "inbound_nodes": [{"args": list(args), "kwargs": kwargs or {}}],
    }


def agent_config(node):
    """The config of an agent whose network has the node between its input and its output."""
    dtype = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    dtype["registered_name"] = None
    observation = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "observation"},
        "registered_name": None,
        "name": "observation",
        "inbound_nodes": [],
    }
    out = {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "out", "units": 2, "dtype": dtype},
        "registered_name": None,
        "name": "out",
        "inbound_nodes": [{"args": [_tensor("op")], "kwargs": {}}],
    }
    network = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "network",
            "layers": [observation, node, out],
            "input_layers": ["observation", 0, 0],
            "output_layers": ["out", 0, 0],
        },
        "registered_name": "Functional",
    }
    return {
        "module": "kerasrl.agents.dqn",
        "class_name": "DQN",
        "config": {"q_network": network},
        "registered_name": "kerasrl>DQN",
    }


def _tensor(name):
    return {"class_name": TENSOR["class_name"], "config": {"keras_history": [name, 0, 0]}}


# What the list lets through, and what not.
PLAIN = {
    "add": layer(),
    "mean": layer("Mean", args=[TENSOR], axis=1, keepdims=True),
    "slice": layer(
        "GetItem",
        args=[TENSOR, [{"class_name": "__ellipsis__", "config": {}}, 0]],
    ),
    "layer": layer("Dense", "keras.layers", args=[TENSOR], units=3),
    "training": layer(
        "Dropout", "keras.layers", args=[TENSOR], kwargs={"training": None}, rate=0.1
    ),
}
REFUSED = {
    "tile": (layer("Tile"), "the operation Tile"),
    "of another module": (layer(module="keras.src.ops.core"), "the operation Add"),
    "scan": (layer("Scan", "keras.src.ops.core"), "the operation Scan"),
    "vectorized map": (layer("VectorizedMap", "keras.src.ops.core"), "the operation VectorizedMap"),
    "at once": (layer(args=[2.0, 1.0]), "calls a Add on numbers"),
    "layer at once": (layer("Dense", "keras.layers", args=[[[1.0]]], units=3), "on numbers"),
    "too large": (layer("Reshape", args=[TENSOR], newshape=[2**30]), "exhaust"),
    "lambda": (layer("Lambda", "keras.layers", args=[TENSOR]), "Lambda"),
    "slice of text": (
        layer(
            "GetItem",
            args=[TENSOR, {"class_name": "__slice__", "config": {"start": "x", "stop": None}}],
        ),
        "slice that is not of numbers",
    ),
    "slice of another form": (
        layer("GetItem", args=[TENSOR, {"class_name": "__slice__", "config": {}, "module": "os"}]),
        "slice of an unknown form",
    ),
    **{
        f"argument {name}": (
            layer(args=[TENSOR, {"class_name": name, "config": {"value": "x"}, **further}]),
            "form|not named|asks for",
        )
        for name, further in {
            "__lambda__": {},
            "__bytes__": {},
            "__typespec__": {"spec_name": "TensorSpec", "module": "os", "registered_name": None},
            "function": {"module": "os", "registered_name": "system"},
        }.items()
    },
    "array": (
        layer(args=[TENSOR, {"class_name": "__tensor__", "config": {"value": "x", "dtype": "y"}}]),
        "array",
    ),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_ones_are_let_through(kind):
    check_config(canonical(agent_config(PLAIN[kind])), {})


@pytest.mark.parametrize("kind", REFUSED)
def test_no_config_can_misuse_them(kind):
    node, reason = REFUSED[kind]
    config = canonical(json.loads(json.dumps(agent_config(node))))
    with pytest.raises(UnsafeFileError, match=reason):
        check_config(config, {})


@pytest.mark.keras_2
@pytest.mark.parametrize("kind", ["add", "mean", "slice"])
def test_keras_2_says_that_it_cannot_read_them(kind):
    with pytest.raises(MismatchError, match="between layers, which Keras 3 wrote and Keras 2 can"):
        native(canonical(agent_config(PLAIN[kind])))
    assert issubclass(MismatchError, LoadError)
