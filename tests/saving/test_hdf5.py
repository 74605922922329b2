"""The reader of HDF5 files, against the library, and what it refuses."""

import io
import struct

import h5py
import numpy as np
import pytest

import kerasrl
from kerasrl.errors import LoadError, UnsafeFileError
from kerasrl.saving.untrusted import hdf5
from kerasrl.saving.untrusted.hdf5 import read_arrays

PATH = "q_network/layers/dense/vars/0"


def file_of(fill, **arguments):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **arguments) as file:
        fill(file)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u8", "?"])
def test_arrays_are_read_as_the_library_reads_them(dtype):
    rng = np.random.default_rng(0)
    arrays = {
        f"deep/er/{i}": rng.integers(0, 2, shape).astype(dtype)
        for i, shape in enumerate([(), (5,), (2, 3), (1, 2, 3, 4), (0, 3)])
    }
    data = file_of(lambda f: [f.create_dataset(name, data=a) for name, a in arrays.items()])
    read = read_arrays(data)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read[name], array)


def test_large_groups_are_read_to_the_last_name():
    numbers = {f"vars/{i}": np.float32(i) for i in range(3000)}
    read = read_arrays(file_of(lambda file: [file.__setitem__(*item) for item in numbers.items()]))
    assert {name: float(array) for name, array in read.items()} == numbers


def test_the_arrays_of_an_agent_are_the_librarys(forge):
    data = forge.members()["model.weights.h5"]
    expected = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            expected[name] = item[...]

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(visit)
    read = read_arrays(data)
    assert read.keys() == expected.keys() and PATH in read
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)


def external_link(file):
    file["x"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file):
    file["x"] = h5py.SoftLink("/" + PATH)


def soft_link_to_a_file(file):
    del file[PATH]
    file[PATH] = h5py.SoftLink("/elsewhere")


def hard_link(file):
    file["x"] = file[PATH]


def circle(file):
    file["q_network/layers/round"] = file["q_network"]


def virtual(file):
    layout = h5py.VirtualLayout((4, 8), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 8), np.float32)
    del file[PATH]
    file.create_virtual_dataset(PATH, layout)


def external_storage(file):
    del file[PATH]
    file.create_dataset(PATH, (4, 8), np.float32, external=[("/etc/passwd", 0, 128)])


def chunks(file):
    file.create_dataset("x", data=np.zeros((64, 64)), chunks=(8, 8))


def gzip_bomb(file):
    file.create_dataset("x", (2**30,), np.uint8, compression="gzip", chunks=(2**24,))


def shuffled(file):
    file.create_dataset("x", data=np.zeros((64, 64)), chunks=(8, 8), shuffle=True)


def never_written(file):
    file.create_dataset("x", (10**12,), np.float32)


def compact(file):
    space, kind = h5py.h5s.create_simple((2,)), h5py.h5t.py_create(np.dtype("f4"))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(file.id, b"x", kind, space, properties)


def strings(file):
    file["x"] = "text"


def compound(file):
    file["x"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def references(file):
    file.create_dataset("x", data=file[PATH].ref, dtype=h5py.ref_dtype)


def ragged(file):
    file.create_dataset("x", (2,), h5py.vlen_dtype(np.float32))


def big_endian(file):
    file["x"] = np.zeros(3, ">f4")


def attribute(file):
    file.attrs["class"] = "os.system"


def named_type(file):
    file["x"] = np.dtype("f4")


def deep(file):
    file["/".join("x" * 70)] = np.float32(1)


CASES = [
    (external_link, "links of the new kind"),
    (soft_link, "a soft link"),
    (soft_link_to_a_file, "a soft link"),
    (hard_link, "or several"),
    (circle, "or several"),
    (virtual, "virtual"),
    (external_storage, "its data in another file"),
    (chunks, "in chunks"),
    (gzip_bomb, "filters"),
    (shuffled, "filters"),
    (never_written, "no data of its own|more than the file holds"),
    (compact, "in its header"),
    (strings, "not an array of numbers"),
    (compound, "not an array of numbers"),
    (references, "not an array of numbers"),
    (ragged, "not an array of numbers"),
    (big_endian, "not an array of numbers"),
    (attribute, "attributes"),
    (named_type, "neither a group nor an array"),
    (deep, "too deep"),
]


@pytest.mark.fault(63, 64)
@pytest.mark.parametrize(("change", "rule"), CASES, ids=[case[0].__name__ for case in CASES])
def test_whatever_keras_does_not_write_is_refused(change, rule, forge):
    with pytest.raises(UnsafeFileError, match=rule):
        kerasrl.load(forge.with_weights(change))


@pytest.mark.fault(64)
def test_a_shape_larger_than_the_file_is_refused(forge):
    members = forge.members()
    data = bytearray(members["model.weights.h5"])
    shape = struct.pack("<2Q", 4, 8)
    at = data.index(shape)
    data[at : at + 16] = struct.pack("<2Q", 2**40, 2**20)
    with pytest.raises(UnsafeFileError, match="more than the file holds"):
        kerasrl.load(forge.write({**members, "model.weights.h5": bytes(data)}))


@pytest.mark.fault(64)
def test_many_arrays_made_of_the_same_bytes_are_refused():
    def fill(file):
        file["large"] = np.zeros(1000, np.float32)
        for i in range(10):
            file[f"{i}"] = np.zeros(7, np.float32)

    data = file_of(fill)
    with h5py.File(io.BytesIO(data)) as file:
        large, *offsets = [file[name].id.get_offset() for name in ("large", *map(str, range(10)))]
    data = data.replace(struct.pack("<2Q", 7, 7), struct.pack("<2Q", 1000, 1000))
    for offset in offsets:
        data = data.replace(struct.pack("<2Q", offset, 28), struct.pack("<2Q", large, 4000))
    with h5py.File(io.BytesIO(data)) as file:
        assert file["9"].shape == (1000,)  # The library sees nothing wrong with it.
    with pytest.raises(UnsafeFileError, match="more than the file holds"):
        read_arrays(data)


@pytest.mark.fault(64)
def test_names_that_are_long_together_are_refused():
    def fill(file):
        group = file
        for _ in range(60):
            group = group.create_group("x" * 250)
        for i in range(1200):
            group[str(i)] = 0.0

    with pytest.raises(UnsafeFileError, match="names that are too long together"):
        read_arrays(file_of(fill))


@pytest.mark.fault(64)
def test_headers_with_too_many_messages_are_refused(monkeypatch):
    data = file_of(lambda file: [file.create_dataset(str(i), data=0.0) for i in range(9)])
    assert len(read_arrays(data)) == 9
    monkeypatch.setattr(hdf5, "_MOST_MESSAGES", 20)
    with pytest.raises(UnsafeFileError, match="more than 20 messages"):
        read_arrays(data)


def test_arrays_are_views_of_the_file(forge):
    data = forge.members()["model.weights.h5"]
    assert all(not array.flags.owndata for array in read_arrays(data).values())


def test_files_of_the_new_format_are_refused():
    data = file_of(lambda file: file.create_dataset("x", data=1.0), libver="latest")
    with pytest.raises(UnsafeFileError, match="a version that Keras does not write"):
        read_arrays(data)


@pytest.mark.parametrize("data", [b"", b"x" * 99, b"\x89HDF\r\n\x1a\n", b"PK\3\4" + bytes(100)])
def test_what_is_no_hdf5_file_is_a_clean_error(data):
    with pytest.raises(LoadError):
        read_arrays(data)
