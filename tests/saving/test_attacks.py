"""Files that strangers make: all are refused, and nothing runs."""

import base64
import inspect
import io
import json
import marshal
import os
import pickle
import resource
import struct
import zipfile

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.compatibility import KERAS_3
from kerasrl.errors import LoadError, UnsafeFileError
from kerasrl.saving.forms import canonical, native
from kerasrl.saving.untrusted.stock import ACTIVATIONS, CLASSES

WEIGHTS = "model.weights.h5"


def layer(kind, **config):
    """A stock layer as a config has it."""
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": config,
        "registered_name": None,
    }


def ours(module, kind, **config):
    return {
        "module": f"kerasrl.{module}",
        "class_name": kind,
        "config": config,
        "registered_name": f"kerasrl>{kind}",
    }


def sequential(*layers):
    named = [{**one, "config": {**one["config"], "name": f"s{i}"}} for i, one in enumerate(layers)]
    node = layer("Sequential", name="inner", layers=named)
    return {**node, "module": "keras"}


def inputs(*shape):
    return layer("InputLayer", batch_input_shape=[None, *shape], dtype="float32")


def function(module, name):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


@keras.saving.register_keras_serializable("tests")
class Trap(keras.layers.Layer):
    """A class that somebody has registered in this process, and the file's author knows of."""

    sprung = False

    def __init__(self, **arguments):
        super().__init__(**arguments)
        type(self).sprung = True


def code_of(song):
    """A Lambda's code as Keras writes it, which would leave a file."""
    source = f"lambda x: (open({str(song)!r}, 'w').close(), x)[1]"
    return [base64.b64encode(marshal.dumps(eval(source).__code__)).decode(), None, None]


NODES = {
    "module": lambda canary, song: {
        "module": canary.module,
        "class_name": "Canary",
        "config": {},
        "registered_name": "Canary",
    },
    "module without a registered name": lambda canary, song: {
        "module": canary.module,
        "class_name": "Canary",
        "config": {},
        "registered_name": None,
    },
    "module behind a stock name": lambda canary, song: {
        **layer("Dense", units=2),
        "module": canary.module,
    },
    "function": lambda canary, song: function(canary.module, "Canary"),
    "builtin": lambda canary, song: function("builtins", "eval"),
    "system": lambda canary, song: function("os", "system"),
    "function of Keras": lambda canary, song: function("keras.utils", "get_file"),
    "switch": lambda canary, song: function("keras.__internal__", "enable_unsafe_deserialization"),
    "type": lambda canary, song: {
        "class_name": "__typespec__",
        "spec_name": "Canary",
        "module": canary.module,
        "registered_name": None,
        "config": [],
    },
    "code": lambda canary, song: {"class_name": "__lambda__", "config": {"value": code_of(song)}},
    "Lambda": lambda canary, song: layer(
        "Lambda", name="x", function=code_of(song), function_type="lambda", module=canary.module
    ),
    "Lambda of the old format": lambda canary, song: {
        "class_name": "Lambda",
        "config": {"name": "x", "function": code_of(song), "function_type": "lambda"},
    },
    "Lambda within a wrapper": lambda canary, song: layer(
        "TimeDistributed",
        layer={
            "class_name": "Lambda",
            "config": {"function": code_of(song), "function_type": "lambda"},
        },
    ),
    "operation": lambda canary, song: {
        **layer("TFOpLambda", name="x", function="io.write_file"),
        "module": "keras.src.layers.core.tf_op_layer",
        "registered_name": "TFOpLambda",
    },
    "vocabulary": lambda canary, song: layer("StringLookup", vocabulary="/etc/passwd"),
    "text": lambda canary, song: layer("TextVectorization", vocabulary="/etc/passwd"),
    "registered by others": lambda canary, song: {
        "module": None,
        "class_name": "Trap",
        "config": {},
        "registered_name": "tests>Trap",
    },
    "registered by others behind a stock name": lambda canary, song: {
        **layer("Dense", units=2),
        "registered_name": "tests>Trap",
    },
    "agent within an agent": lambda canary, song: ours("agents.sac", "SAC"),
    "objects": lambda canary, song: {
        "class_name": "__numpy__",
        "config": {"value": [1], "dtype": "object"},
    },
}


@pytest.mark.fault(62)
@pytest.mark.parametrize("place", ["network", "layer", "initializer", "inner", "optimizer"])
@pytest.mark.parametrize("kind", NODES)
@pytest.mark.table
def test_no_class_or_function_is_looked_up(kind, place, forge, canary, tmp_path):
    node = NODES[kind](canary, tmp_path / "lambda")

    def change(config):
        network = config["config"]["q_network"]
        if place == "network":
            config["config"]["q_network"] = node
        elif place == "layer":
            network["config"]["layers"][1].update(node)
        elif place == "initializer":
            network["config"]["layers"][1]["config"]["kernel_initializer"] = node
        elif place == "inner":
            network["config"]["layers"][1]["config"]["more"] = [{"deeper": [node]}]
        else:
            config["compile_config"]["optimizer"] = node

    with pytest.raises(UnsafeFileError):
        kerasrl.load(forge.with_config(change))
    assert not canary.sang() and not (tmp_path / "lambda").exists() and not Trap.sprung


@pytest.mark.fault(62)
@pytest.mark.parametrize("key", ["activation", "kernel_initializer", "kernel_regularizer"])
@pytest.mark.parametrize("text", ["tests>Trap", "kerasrl>SAC", "deserialize", "eval", "Lambda"])
def test_no_string_stands_for_a_function(key, text, forge):
    with pytest.raises(UnsafeFileError, match=f"{key}='{text}'"):
        kerasrl.load(forge.with_layer(1, **{key: text}))
    assert not Trap.sprung


@pytest.mark.fault(62)
def test_a_pickle_is_not_read(forge, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "bomb"),)

    buffer = io.BytesIO()
    np.savez(buffer, __root__=np.array(Bomb(), object))
    members = forge.members()
    alone = {name: data for name, data in members.items() if name != WEIGHTS}
    npz = {"model.weights.npz": buffer.getvalue()}
    for forged in (
        {**members, **npz},
        {**alone, **npz},
        {**members, WEIGHTS: pickle.dumps(Bomb())},
        {**members, "config.json": pickle.dumps(Bomb())},
        {**members, "assets/x.pkl": pickle.dumps(Bomb())},
    ):
        with pytest.raises(LoadError):
            kerasrl.load(forge.write(forged))
    (tmp_path / "raw.keras").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(LoadError):
        kerasrl.load(tmp_path / "raw.keras")
    assert not (tmp_path / "bomb").exists()


@pytest.mark.fault(62)
@pytest.mark.keras_2
def test_a_lambda_in_a_legacy_file_does_not_run(tmp_path):
    song = str(tmp_path / "song")
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Lambda(lambda x: (open(song, "w").close(), x)[1])]
    )
    os.unlink(song)
    with pytest.warns(UserWarning, match="HDF5 file"):
        model.save(tmp_path / "model.h5", save_format="h5")
    (tmp_path / "model.keras").write_bytes((tmp_path / "model.h5").read_bytes())
    for name in ("model.h5", "model.keras"):
        with pytest.raises(LoadError, match="not a .keras file"):
            kerasrl.load(tmp_path / name)
    assert not os.path.exists(song)


@pytest.mark.fault(65)
@pytest.mark.parametrize(
    "name",
    ["../outside", "/tmp/outside", "assets/../../outside", "config.json?.txt", "CONFIG.JSON"],
)
def test_only_the_known_members_are_read(name, forge, tmp_path):
    members = forge.members()
    config = members["config.json"]
    others = {key: data for key, data in members.items() if key != "config.json"}
    for forged in ({**members, name: b"x"}, {**others, name: config}):
        path = forge.write(forged)
        path.write_bytes(path.read_bytes().replace(b"json?", b"json\0"))  # Ends a name elsewhere.
        with pytest.raises(UnsafeFileError, match="must hold exactly config.json, metadata.json"):
            kerasrl.load(path)
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.fault(65)
def test_two_members_of_one_name_are_refused(forge):
    pairs = [*forge.members().items(), ("config.json", b"{}")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = forge.write(pairs)
    with pytest.raises(UnsafeFileError, match="each once"):
        kerasrl.load(path)


@pytest.mark.fault(65)
@pytest.mark.parametrize("kind", ["link", "encrypted"])
def test_links_and_encrypted_members_are_refused(kind, forge):
    path = forge.path
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in forge.members().items():
            member = zipfile.ZipInfo(name)
            if name == "config.json" and kind == "link":
                member.external_attr = 0o120777 << 16
                data = b"/etc/passwd"
            archive.writestr(member, data)
    if kind == "encrypted":
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="is a link or encrypted"):
        kerasrl.load(path)


@pytest.mark.fault(64)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(forge):
    bomb = {**forge.members(), "config.json": b" " * 2**28}
    path = forge.write(bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    del bomb
    before = _most_memory()
    with pytest.raises(UnsafeFileError, match="is compressed"):
        kerasrl.load(path)
    assert _most_memory() - before < 2**24


@pytest.mark.fault(64)
def test_members_and_directories_larger_than_the_file_are_refused(forge):
    path = forge.write(forge.members())
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 28] = (2**32 - 2).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="says that it has 4294967294 bytes"):
        kerasrl.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(2000):
            archive.writestr(f"{i}", b"")
    with pytest.raises(UnsafeFileError, match="lists more members"):
        kerasrl.load(path)


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    "text",
    [
        b"[" * 10**6,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"a": ' + b"9" * 10**5 + b"}",
        b"[]",
        b"",
        b"\xff\xfe",
        b'{"class_name": "\xed\xa0\x80"}',
    ],
    ids=["open", "deep", "digits", "list", "empty", "encoding", "surrogate"],
)
def test_json_that_is_no_config_is_refused(text, forge):
    with pytest.raises(LoadError):
        kerasrl.load(forge.write({**forge.members(), "config.json": text}))


@pytest.mark.fault(64)
def test_json_larger_than_any_config_is_refused(forge):
    with pytest.raises(UnsafeFileError, match="of at most 8388608"):
        kerasrl.load(forge.write({**forge.members(), "config.json": b" " * (2**23 + 1)}))


BOMBS = {
    "dense": [inputs(4), layer("Dense", units=10**9), layer("Dense", units=2)],
    "dense below the limit of sizes": [inputs(4), layer("Dense", units=2**24)],
    "dense just too large": [inputs(4), layer("Dense", units=10**5), layer("Dense", units=2)],
    "embedding": [inputs(4), layer("Embedding", input_dim=2**24, output_dim=2**24)],
    "many": [inputs(4), ours("networks.mlp", "MLP", units=[1] * 540)],
    "more": [inputs(4), ours("networks.mlp", "MLP", units=[1] * 5000)],
    "head": [
        inputs(4),
        ours("networks.heads", "DiscreteValuedHead", minimum=0, maximum=1, num_atoms=10**12),
    ],
    "repeat": [
        inputs(4),
        layer("Dense", units=8),
        layer("RepeatVector", n=2**24),
        layer("GlobalAveragePooling1D"),
        layer("Dense", units=2),
    ],
    "repeat twice": [
        inputs(4),
        layer("RepeatVector", n=2**20),
        layer("Flatten"),
        layer("RepeatVector", n=2**20),
        layer("GlobalAveragePooling1D"),
    ],
    "within a layer of a layer": [
        inputs(4),
        layer("RepeatVector", n=3),
        layer(
            "TimeDistributed",
            layer=sequential(
                layer("RepeatVector", n=2**25),
                layer("GlobalAveragePooling1D"),
            ),
        ),
    ],
    "within a layer of ours": [
        inputs(4),
        layer("RepeatVector", n=2**17),
        ours("networks.mlp", "MLP", units=[2**12, 1]),
        layer("Flatten"),
    ],
    "image": [
        inputs(4),
        layer("Reshape", target_shape=[2, 2, 1]),
        layer("UpSampling2D", size=[10**4, 10**4]),
        layer("GlobalAveragePooling2D"),
    ],
    "batch": [{**inputs(4), "config": {"batch_input_shape": [2**24, 2**24], "dtype": "float32"}}],
    "unrolled": [inputs(2**20, 1), layer("SimpleRNN", units=1, unroll=True)],
    "unrolled otherwise": [inputs(4), layer("SimpleRNN", units=1, unroll="yes")],
    "long sequence": [inputs(4), layer("RepeatVector", n=2**16), layer("SimpleRNN", units=2)],
    "window": [
        inputs(4),
        layer("Reshape", target_shape=[2, 2, 1]),
        layer("UpSampling2D", size=[512, 512]),
        layer("MaxPooling2D", pool_size=[128, 128], strides=1, padding="same"),
    ],
    "dilation": [inputs(4), layer("DepthwiseConv2D", kernel_size=2, dilation_rate=2**20)],
    "recurrent calls": [inputs(4), layer("RepeatVector", n=2)]
    + [layer("SimpleRNN", units=1, return_sequences=True)] * 60,
}


@pytest.mark.fault(64)
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.table
def test_layers_larger_than_the_file_are_refused_before_they_are_made(kind, forge):
    path = forge.with_network(*BOMBS[kind])
    before = _most_memory()
    rule = "variables of|tensors of|exhaust|integers|steps|pools|called|incompatible with the layer"
    rule += "|must map|infer the output shape"  # Of what Keras 3 finds to be wrong before that.
    with pytest.raises(LoadError, match=rule):
        kerasrl.load(path)
    assert _most_memory() - before < 2**27


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    ("spaces", "rule"),
    [
        ({"kind": "Box", "spaces": [], "shape": [2**15, 2**15], "low": 0.0}, "must be a dict with"),
        ({"kind": "Box", "shape": [0, 2**24, 2**24], "low": 0.0, "high": 1.0}, "at least 1"),
        ({"kind": "Box", "shape": [1, 2**24, 2**24], "low": 0.0, "high": 1.0}, "elements"),
        ({"kind": "MultiDiscrete", "nvec": [2] * 5000, "start": [0] * 5000}, "5000 choices"),
        ({"kind": "Tuple", "spaces": [{"kind": "MultiBinary", "n": [1]}] * 2000}, "2001 spaces"),
        ([], "must be a space of a kind"),
    ],
    ids=["of two kinds", "empty", "large", "choices", "many", "none"],
)
def test_spaces_that_are_none_or_too_large_are_refused(spaces, rule, forge):
    if isinstance(spaces, dict) and spaces["kind"] in ("Box", "MultiDiscrete"):
        spaces = {**spaces, "dtype": "float32" if spaces["kind"] == "Box" else "int64"}

    def change(config):
        config["build_config"]["observation_space"] = spaces

    with pytest.raises(UnsafeFileError, match=rule):
        kerasrl.load(forge.with_config(change))


@pytest.mark.fault(64)
@pytest.mark.parametrize("value", [10**9, "1", {"class_name": "__numpy__"}])
def test_an_array_does_not_stand_for_a_number(value, forge):
    array = {"class_name": "__tensor__", "config": {"value": value, "dtype": "int64"}}
    with pytest.raises(UnsafeFileError, match="array where an agent has a number"):
        kerasrl.load(forge.with_config(lambda config: config["config"].update(n_step=array)))
    with pytest.raises(UnsafeFileError, match="in the place of an array"):
        kerasrl.load(forge.with_layer(1, units=array))


@pytest.mark.fault(64)
def test_the_directory_of_an_archive_is_found_where_zipfile_finds_it(tmp_path):
    entry = b"PK\1\2" + struct.pack("<6H3L5H2L", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, *[0] * 6) + b"a"
    directory = entry * 10**5
    end = struct.pack("<4s2H4s2LH", b"PK\5\6", 0, 0, b"PK\5\6", len(directory), 0, 0)
    (tmp_path / "many.keras").write_bytes(directory + end)
    with pytest.raises(UnsafeFileError, match="lists more members"):
        kerasrl.load(tmp_path / "many.keras")


@pytest.mark.fault(64)
def test_tensors_that_are_small_alone_and_large_together_are_refused(forge):
    def change(config):
        network = config["config"]["q_network"]["config"]
        first, hidden, *rest = network["layers"]
        wide = []
        for i in range(30):
            node = layer("RepeatVector", n=2**23, name=f"w{i}")
            wide.append({**node, "name": f"w{i}", "inbound_nodes": [[[first["name"], 0, 0, {}]]]})
        joined = {
            **layer("Add", name="sum"),
            "name": "sum",
            "inbound_nodes": [[[node["name"], 0, 0, {}] for node in wide]],
        }
        pooled = {
            **layer("GlobalAveragePooling1D", name="pool"),
            "name": "pool",
            "inbound_nodes": [[["sum", 0, 0, {}]]],
        }
        hidden["inbound_nodes"] = [[["pool", 0, 0, {}]]]
        network["layers"] = [first, *wide, joined, pooled, hidden, *rest]

    with pytest.raises(UnsafeFileError, match="tensors of"):
        kerasrl.load(forge.with_config(change))


@pytest.mark.fault(64)
@pytest.mark.parametrize("where", ["inputs", "arguments"])
def test_a_layer_is_not_called_on_numbers_of_the_file(where, forge):
    """Keras would do so at once, not in a graph, before anything could be checked."""

    def change(config):
        network = config["config"]["q_network"]["config"]
        constant = ["_CONSTANT_VALUE", -1, [[1.0] * 1000], {}]
        node = layer("RepeatVector", n=2**18, name="repeat")
        node = {**node, "name": "repeat", "inbound_nodes": [[constant]]}
        if where == "arguments":
            node["inbound_nodes"] = [[[network["layers"][0]["name"], 0, 0, {"x": constant}]]]
        network["layers"].append(node)

    before = _most_memory()
    with pytest.raises(UnsafeFileError, match="_CONSTANT_VALUE"):
        kerasrl.load(forge.with_config(change))
    assert _most_memory() - before < 2**27


@pytest.mark.timeout(60)
def test_networks_that_call_each_other_twice_are_counted(forge):
    def twice(inner, name):
        start = {**inputs(2), "name": "in", "inbound_nodes": []}
        start["config"] = {**start["config"], "name": "in"}
        ends = [[["in", 0, 0, {}]], [[inner["config"]["name"], 1, 0, {}]]]
        node = {**inner, "name": inner["config"]["name"], "inbound_nodes": ends}
        config = {
            "name": name,
            "layers": [start, node],
            "input_layers": [["in", 0, 0]],
            "output_layers": [[node["name"], 2, 0]],
        }
        return {**layer("Functional"), "config": config} | {
            "module": "keras.src.engine.functional",
            "registered_name": "Functional",
        }

    network = sequential(inputs(2), layer("Dense", units=2))
    for i in range(20):
        network = twice(network, f"level{i}")
    path = forge.with_config(lambda config: config["config"].update(q_network=network))
    with pytest.raises(UnsafeFileError, match=r"layers are called \d{7,} times"):
        kerasrl.load(path)


SPACES = {
    "box": {"kind": "Box", "low": 0, "high": 1, "shape": [10**5, 10**6], "dtype": "float32"},
    "bits": {"kind": "MultiBinary", "n": [10**6, 10**6]},
    "many bits": {"kind": "MultiBinary", "n": 10**12},
    "tuple": {
        "kind": "Tuple",
        "spaces": [{"kind": "Box", "low": 0, "high": 1, "shape": [2**22], "dtype": "uint8"}] * 5,
    },
    "many": {"kind": "Tuple", "spaces": [{"kind": "Discrete", "n": 2}] * 2000},
    "integers": {"kind": "MultiDiscrete", "nvec": [[2] * 100] * 100, "dtype": "int64"},
    "negative": {"kind": "Box", "low": 0, "high": 1, "shape": [-4], "dtype": "float32"},
    "none": None,
}


@pytest.mark.fault(64)
@pytest.mark.parametrize("which", ["observation_space", "action_space"])
@pytest.mark.parametrize("kind", SPACES)
def test_spaces_too_large_for_memory_are_refused(kind, which, forge):
    with pytest.raises(UnsafeFileError, match="space"):
        kerasrl.load(
            forge.with_config(lambda config: config["build_config"].update({which: SPACES[kind]}))
        )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["circle", "no such node", "itself"])
def test_connections_that_can_never_be_made_end(kind, forge):
    def change(config):
        layers = config["config"]["q_network"]["config"]["layers"]
        source = {"circle": 2, "no such node": 0, "itself": 1}[kind]
        number = 7 if kind == "no such node" else 0
        if kind == "no such node":
            layers[2]["inbound_nodes"] = [[[layers[1]["name"], number, 0, {}]]]
        else:
            layers[1]["inbound_nodes"] = [[[layers[source]["name"], number, 0, {}]]]

    with pytest.raises(LoadError, match="cannot be connected|has loops or disconnected nodes"):
        kerasrl.load(forge.with_config(change))


def test_an_error_says_nothing_that_a_terminal_would_obey(forge):
    def change(config):
        config["config"]["q_network"]["class_name"] = "\x1b[31mred" + "x" * 10**6

    with pytest.raises(UnsafeFileError) as raised:
        kerasrl.load(forge.with_config(change))
    assert "\x1b" not in str(raised.value) and len(str(raised.value)) < 5000


@pytest.mark.fault(70)
def test_secrets_of_the_environment_are_not_written(tiny_env, make_agent, small_replay, tmp_path):
    class Remote(tiny_env):
        def __init__(self, api_key):
            super().__init__()
            self.api_key = api_key

    agent = make_agent("dqn")
    agent.fit(
        lambda: Remote(api_key="s3cr3t-t0ken"),
        env_steps=40,
        epochs=1,
        batch_size=4,
        callbacks=[kerasrl.callbacks.Collect(1, warmup_steps=32)],
        replay=small_replay(),
        verbose=0,
    )
    agent.save(tmp_path / "agent.keras")
    agent.save_weights(tmp_path / "agent.weights.h5")
    for path in tmp_path.iterdir():
        assert b"s3cr3t" not in path.read_bytes()
    with zipfile.ZipFile(tmp_path / "agent.keras") as archive:
        text = archive.read("config.json").decode()
        assert set(json.loads(archive.read("metadata.json"))) == {"keras_version", "date_saved"}
    assert "api_key" not in text and os.getcwd() not in text


def test_every_class_of_the_list_is_named_as_keras_names_it():
    arguments = {
        "InputLayer": {"input_shape": (2,)},
        "TimeDistributed": {"layer": keras.layers.Dense(2)},
        "Bidirectional": {"layer": keras.layers.LSTM(2)},
        "Reshape": {"target_shape": (2,)},
        "Permute": {"dims": (1,)},
        "Activation": {"activation": "relu"},
        "Rescaling": {"scale": 1.0},
        "Policy": {"name": "mixed_float16"},
        "PiecewiseConstantDecay": {"boundaries": [1], "values": [1.0, 2.0]},
        "Dropout": {"rate": 0.1},
    }
    schedule = {"initial_learning_rate": 0.1, "decay_steps": 3, "decay_rate": 0.5}
    schedule["first_decay_steps"] = 2
    for module, name, _ in CLASSES:
        if module in (
            "keras.src.engine.functional",
            "keras.src.layers.core.tf_op_layer",  # See test_operations.
            "keras.optimizers.experimental",
        ) or module.startswith("keras.src.ops"):
            continue
        place = keras
        if KERAS_3 and name == "ThresholdedReLU":
            continue
        for part in [] if module.startswith("keras.src") else module.split(".")[1:]:
            place = getattr(place, part)
        if name == "LossScaleOptimizerV3":
            made = keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD())
        else:
            made = _made(getattr(place, name), arguments.get(name, {}), schedule)
        node = canonical(keras.saving.serialize_keras_object(made))
        assert (node["module"], node["class_name"], node["registered_name"]) in CLASSES


def test_every_activation_of_the_list_is_one_of_keras():
    for name in ACTIVATIONS:
        made = {"class_name": "Dense", "config": {"activation": name}, "module": "keras.layers"}
        here = native(made)["config"]["activation"]
        found = getattr(keras.activations, here, None)
        assert (found is None and not KERAS_3) or keras.activations.get(here) is found


def _made(found, given, defaults):
    """An object of a class, its required arguments filled with small numbers."""
    parameters = inspect.signature(found.__init__).parameters.values()
    required = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
    ]
    small = {"rate": 0.1, "axes": 1, "stddev": 0.1}
    filled = {name: {**small, **defaults}.get(name, 2) for name in required}
    return found(**{**filled, **given})


def _most_memory():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
