import random
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import LoadError, SaveError
from kerasrl.files.nests import read_nest, write_nest


def test_a_nest_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.zeros(3, [("f0", "<f4", (2,)), ("f1", "u1")])
    rows["f0"] = rng.normal(size=(3, 2))
    nest = {
        "none": None,
        "numbers": [1, 2.5, True, float("inf"), -0.1 - 0.2, 2**100, "text"],
        "arrays": {"a": rng.normal(size=(2, 3)), "empty": np.zeros((0, 4), np.int8), "rows": rows},
        "scalar": np.float64(0.1),
        "generator": rng.bit_generator.state,
        "python": random.getstate(),
    }
    write_nest(tmp_path / "state", nest)
    back = read_nest(tmp_path / "state")
    assert back["none"] is None
    assert back["numbers"] == nest["numbers"]
    assert back["scalar"] == 0.1
    assert back["generator"] == nest["generator"]
    assert tuple(back["python"][1]) == nest["python"][1]
    for name, array in nest["arrays"].items():
        assert back["arrays"][name].dtype == array.dtype
        np.testing.assert_array_equal(back["arrays"][name], array)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (object(), "of type object"),
        ({1: 2}, "of type dict"),
        (np.array([{}], object), "of type ndarray"),
        (tf.zeros(2), "of type EagerTensor"),
    ],
    ids=["object", "int key", "array of objects", "tensor"],
)
def test_what_could_not_be_read_again_is_not_written(tmp_path, wrong, place):
    told = rf"^state\['a'\]\[1\] cannot be saved: (?s:.)*{place}. A state is made of"
    with pytest.raises(SaveError, match=told):
        write_nest(tmp_path / "state", {"a": [0, wrong]})


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", "cut"])
def test_a_damaged_file_is_an_error(tmp_path, suffix, content):
    write_nest(tmp_path / "state", {"a": np.zeros(2)})
    path = (tmp_path / "state").with_suffix(suffix)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if content == "cut" else content)
    with pytest.raises(LoadError, match="state"):
        read_nest(tmp_path / "state")


@pytest.mark.parametrize("text", ["[]", "[" * 10**5, '{"a": {"__array__": [1]}}', "3"])
def test_the_json_may_say_anything(tmp_path, text):
    write_nest(tmp_path / "state", {"a": np.zeros(2)})
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(LoadError, match="state"):
        read_nest(tmp_path / "state")


@pytest.mark.fault(64)
def test_compressed_arrays_are_refused(tmp_path):
    write_nest(tmp_path / "state", {"a": np.zeros(2)})
    np.savez_compressed(tmp_path / "state.npz", **{"0": np.zeros(10**6)})
    with pytest.raises(LoadError, match="compressed, and could be of any size"):
        read_nest(tmp_path / "state")


@pytest.mark.parametrize("shape", ["(1099511627776,)", "(", "3"])
def test_an_array_may_say_that_it_is_any_size(tmp_path, shape):
    write_nest(tmp_path / "state", {"a": np.zeros(2)})
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    with zipfile.ZipFile(tmp_path / "state.npz", "w") as archive:
        archive.writestr("0.npy", header + bytes(16))
    with pytest.raises(LoadError, match="state"):
        read_nest(tmp_path / "state")


@pytest.mark.fault(62)
def test_a_pickle_among_the_arrays_is_not_loaded(tmp_path):
    class Canary:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    write_nest(tmp_path / "state", {"a": np.zeros(2)})
    np.savez(tmp_path / "state.npz", **{"0": np.array([Canary()], object)})
    with pytest.raises(LoadError):
        read_nest(tmp_path / "state")
    assert not (tmp_path / "ran").exists()
