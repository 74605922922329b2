"""Files changed at random: they load, or a clean error says what is wrong."""

import copy
import io
import json
import signal
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kerasrl
from kerasrl.errors import KerasRLError

WEIGHTS = "model.weights.h5"
SECONDS = 20  # for one file

integers = st.one_of(
    st.sampled_from([0, -1, 1, 255, 2**16, 2**24, 2**24 + 1, 2**31, 2**63, 2**64 - 1]),
    st.integers(-(2**64), 2**64),
)
names = st.sampled_from(
    ["Dense", "Lambda", "Sequential", "Functional", "function", "__lambda__", "__numpy__"]
    + ["kerasrl>DQN", "kerasrl>MLP", "relu", "keras.layers", "kerasrl_canary", "Canary", "../x"]
)
plain = st.one_of(st.none(), st.booleans(), integers, st.floats(), names, st.text(max_size=5))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["class_name", "config", "module", "registered_name", "units"]), inner
        ),
    ),
    max_leaves=6,
)
limited = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def refused_or_loaded(canary):
    """Loads a file; anything but success and a clean error within the time fails the test."""

    def late(*_):
        raise TimeoutError(f"a file took more than {SECONDS} seconds")

    def load(path):
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(SECONDS)
        try:
            agent = kerasrl.load(path)
        except KerasRLError as error:
            assert not isinstance(error.__cause__, TimeoutError | MemoryError), error
        else:
            assert isinstance(agent, kerasrl.Agent)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            keras.backend.clear_session()
        assert not canary.sang()

    return load


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.mark.thorough
@pytest.mark.fault(62, 64)
def test_changed_configs(forge, refused_or_loaded):
    config = forge.config()
    all_places = [path for path in places(config) if path]

    @limited
    @given(st.data())
    def check(data):
        changed = copy.deepcopy(config)
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(all_places))
            try:
                parent = at(changed, path[:-1])
                change = data.draw(st.sampled_from(["put", "copy", "remove"]))
                if change == "put":
                    parent[path[-1]] = data.draw(values)
                elif change == "copy":
                    parent[path[-1]] = at(config, data.draw(st.sampled_from(all_places)))
                else:
                    del parent[path[-1]]
            except (KeyError, IndexError, TypeError):
                pass  # An earlier change has removed the place.
        members = forge.members()
        members["config.json"] = json.dumps(changed).encode("utf-8", "surrogatepass")
        refused_or_loaded(forge.write(members))

    check()


@pytest.mark.fault(64)
def test_changed_archives(forge, refused_or_loaded):
    whole = forge.original.read_bytes()
    starts = [whole.index(mark) for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6")]
    headers = [i for start in starts for i in range(start, min(start + 60, len(whole)))]

    @limited
    @given(
        st.lists(st.tuples(st.sampled_from(headers), st.integers(0, 255)), max_size=4),
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=2),
        st.sampled_from([0, 0, 0, 1, 30, 5000]),
    )
    def check(in_headers, anywhere, cut):
        data = bytearray(whole)
        for place, byte in [*in_headers, *anywhere]:
            data[place] = byte
        forge.path.write_bytes(data[: len(data) - cut])
        refused_or_loaded(forge.path)

    check()


@pytest.mark.thorough
@pytest.mark.fault(63, 64)
def test_changed_weights(forge, refused_or_loaded):
    members = forge.members()
    whole = members[WEIGHTS]
    arrays = np.zeros(len(whole), bool)
    with h5py.File(io.BytesIO(whole)) as file:
        file.visititems(
            lambda _, item: (
                isinstance(item, h5py.Dataset)
                and arrays.__setitem__(
                    slice(item.id.get_offset(), item.id.get_offset() + item.nbytes), True
                )
            )
        )
    structure = np.flatnonzero(~arrays).tolist()

    @limited
    @given(
        st.lists(
            st.tuples(st.sampled_from(structure), st.sampled_from([1, 2, 4, 8]), integers),
            min_size=1,
            max_size=4,
        )
    )
    def check(changes):
        data = bytearray(whole)
        for place, width, value in changes:
            place -= place % width
            data[place : place + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
        refused_or_loaded(forge.write({**members, WEIGHTS: bytes(data)}))

    check()


def test_the_file_that_is_changed_is_good(forge):
    with zipfile.ZipFile(forge.write(forge.members())) as archive:
        assert archive.testzip() is None
    assert isinstance(kerasrl.load(forge.path), kerasrl.DQN)
