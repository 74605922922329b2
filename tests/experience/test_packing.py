import numpy as np
import pytest
import tensorflow as tf

from kerasrl.envs.spec import tensor_spec
from kerasrl.experience.packing import Packer
from kerasrl.testing import nested_space

DTYPES = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES += ["float16", "float32", "float64"]


def extremes(dtype, shape, count):
    """Values that would not survive a detour by another dtype."""
    rng = np.random.default_rng(0)
    if dtype == np.bool_:
        return rng.random((count, *shape)) < 0.5
    if np.issubdtype(dtype, np.floating):
        values = rng.standard_normal((count, *shape)).astype(dtype)
        values.flat[:3] = [np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal, -0.0]
        return values
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, (count, *shape), dtype, endpoint=True)
    values.flat[:2] = [info.min, info.max]
    return values


def round_trip(spec, batch, mode=lambda function: function):
    """Packs a batch given as a dict of nests of arrays, and unpacks it."""
    packer = Packer(spec)
    rows = packer.rows(len(tf.nest.flatten(batch)[0]))
    for key, fields in packer.fields.items():
        for field, leaf in zip(fields, tf.nest.flatten(batch[key]), strict=True):
            rows[field] = leaf
    packed = packer.to_bytes(rows)
    assert packed.dtype == np.uint8
    assert packed.base is not None  # A view and not a copy.
    return packed, mode(packer.unpack)(tf.constant(packed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1, 3)])
def test_every_dtype_comes_back_bit_by_bit(dtype, shape):
    values = extremes(np.dtype(dtype), shape, 8)
    packed, batch = round_trip({"x": tf.TensorSpec(shape, dtype)}, {"x": values})
    assert packed.shape == (8, values[0].nbytes)
    assert batch["x"].dtype == dtype
    assert batch["x"].shape == (8, *shape)
    assert batch["x"].numpy().tobytes() == values.tobytes()


def test_a_nest_comes_back_as_it_was():
    space = nested_space()
    spec = {
        "observation": tensor_spec(space),
        "action": tf.TensorSpec((2,), tf.float32),
        "next_observation": tensor_spec(space),
        "discount": tf.TensorSpec((), tf.float32),
        "done": tf.TensorSpec((), tf.bool),
    }
    batch = tf.nest.map_structure(
        lambda leaf: extremes(leaf.dtype.as_numpy_dtype, leaf.shape, 5), spec
    )
    _, unpacked = round_trip(spec, batch)
    tf.nest.assert_same_structure(unpacked, spec)
    tf.nest.map_structure(
        lambda leaf, expected: np.testing.assert_array_equal(leaf.numpy(), expected),
        unpacked,
        batch,
    )


def test_shapes_are_known_in_a_graph(mode):
    spec = {"x": tf.TensorSpec((2, 3), tf.float64), "y": (tf.TensorSpec((), tf.bool),)}
    batch = {"x": extremes(np.dtype("float64"), (2, 3), 4), "y": (np.ones(4, bool),)}
    _, unpacked = round_trip(spec, batch, mode)
    np.testing.assert_array_equal(unpacked["x"], batch["x"])
    block = tf.data.Dataset.from_tensors(tf.zeros((4, Packer(spec).dtype.itemsize), tf.uint8))
    assert block.map(Packer(spec).unpack).element_spec == {
        "x": tf.TensorSpec((4, 2, 3), tf.float64),
        "y": (tf.TensorSpec((4,), tf.bool),),
    }
