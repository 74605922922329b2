"""Whatever `policy.json` holds, reading it gives spaces and plain values, or a clean error."""

import copy
import json
import os

import gymnasium as gym
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kerasrl.envs import EnvSpec
from kerasrl.errors import KerasRLError, LoadError
from kerasrl.export.manifest import read_info, write_info
from kerasrl.testing import nested_space

SPEC = EnvSpec(nested_space(), gym.spaces.Box(-1, 1, (2,)))
INFO = {
    "format": "saved_model",
    "agent": "SAC",
    "env_steps": 1,
    "gradient_steps": 2,
    "results": {"episode_return": 3.5},
    "versions": {"kerasrl": "0.1.0"},
    "signatures": ["act"],
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("policy")


@pytest.fixture(scope="module")
def good(directory):
    (directory / "saved_model.pb").write_bytes(b"x")
    write_info(directory, SPEC, INFO)
    return json.loads((directory / "policy.json").read_text())


def read(directory, info):
    text = info if isinstance(info, bytes) else json.dumps(info).encode()
    (directory / "policy.json").write_bytes(text)
    return read_info(directory)


def test_what_was_written_is_read(directory, good):
    info, spec = read(directory, good)
    assert info == good
    assert spec == SPEC
    assert {key: info[key] for key in INFO} == INFO
    assert info["files"]["saved_model.pb"]["bytes"] == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"a": ' * 100_000, "it is not JSON"),
        (b"[" * 900 + b"]" * 900, r"it must be a dict; received \[\[\[\[\[\[\["),
        (b"9" * 5_000, "it is not JSON|it must be a dict"),
        (b" " * (2**24 + 1), "it may have 16777216 bytes"),
    ],
    ids=["empty", "no text", "deep list", "deep dict", "nested", "long int", "large"],
)
def test_what_is_no_description(directory, text, match):
    with pytest.raises(LoadError, match=rf"policy\.json does not describe .*: {match}"):
        read(directory, text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "onnx"),
        ("format", ["tflite"]),
        ("agent", None),
        ("env_steps", -1),
        ("env_steps", True),
        ("gradient_steps", 1.5),
        ("results", {"episode_return": float("nan")}),
        ("results", {"episode_return": "1"}),
        ("results", {"episode_return": 10**400}),
        ("versions", {"kerasrl": 1}),
        ("signatures", ["sample"]),
        ("signatures", []),
        ("inputs", ["observation"]),
        ("inputs", "observation"),
        ("output", "actions"),
        ("files", {"saved_model.pb": "x"}),
        ("files", {"saved_model.pb": {"bytes": 1}}),
        ("format_version", 0),
        ("format_version", None),
        ("observation_space", None),
        ("action_space", {"kind": "Lambda"}),
        ("secret", 1),
    ],
)
def test_what_is_not_as_it_was_written(directory, good, key, value):
    with pytest.raises(LoadError, match=key):
        read(directory, good | {key: value})


def test_what_is_missing(directory, good):
    for key in good:
        match = key if key == "format_version" else rf"it lacks \['{key}'\]"
        with pytest.raises(LoadError, match=match):
            read(directory, {k: v for k, v in good.items() if k != key})


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "policy.json")
    with pytest.raises(LoadError, match="there is no policy.json"):
        read_info(tmp_path)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 255, 256, 2**31, 2**63, 2**64, 10**400, 1e300])
KINDS = ["Box", "Discrete", "Dict", "Tuple", "MultiBinary", "MultiDiscrete", "Graph", "object"]
WORDS = st.sampled_from([*KINDS, "int64", "uint8", "float16", "O", "M8", "Infinity", "-Infinity"])
KEYS = st.sampled_from(["kind", "spaces", "low", "high", "shape", "dtype", "n", "nvec", "start"])
VALUES = st.recursive(
    PLAIN | NUMBERS | WORDS,
    lambda child: (
        st.lists(child, max_size=3) | st.dictionaries(KEYS | st.text(), child, max_size=5)
    ),
    max_leaves=8,
)


def places(value, path=()):
    """The paths of everything in a nest."""
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*path, key))


def changed(value, path, new):
    """A copy of a nest with another value at a path, or with none if that is `...`."""
    made = copy.deepcopy(value)
    parent = made
    for key in path[:-1]:
        parent = parent[key]
    if new is Ellipsis:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return made


FUZZ = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(data=st.data())
@pytest.mark.thorough
def test_a_description_with_changes_is_read_or_cleanly_refused(directory, good, data):
    info = good
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(info))[1:]))
        info = changed(info, path, data.draw(VALUES | st.just(...)))
    try:
        _, spec = read(directory, info)
    except KerasRLError:
        return
    assert len(info["inputs"]) == len(tf.nest.flatten(spec.observation))


@FUZZ
@given(text=st.binary(max_size=64) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_cleanly_refused(directory, text):
    with pytest.raises(KerasRLError):
        read(directory, text)


@FUZZ
@given(space=VALUES)
def test_any_space_is_read_or_cleanly_refused(directory, good, space):
    with pytest.raises(KerasRLError):
        read(directory, good | {"observation_space": space})
