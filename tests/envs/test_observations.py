import warnings

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.envs.observations import ObservationReader
from kerasrl.envs.spec import tensor_spec
from kerasrl.errors import EnvError
from kerasrl.testing import nested_space

spaces = gym.spaces


def write(space, observation):
    reader = ObservationReader(space)
    arrays = reader.empty(2)
    reader.write(observation, arrays, 1)
    return [array[1] for array in arrays]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3, 2), np.float32),
        spaces.Box(-1, 1, (2,), np.float16),
        spaces.Box(0, 255, (4, 4, 1), np.uint8),
        spaces.Box(-9, 9, (), np.int32),
        spaces.Discrete(3, start=5),
        spaces.MultiBinary((2, 2)),
        spaces.MultiDiscrete([3, 4], start=[1, -1]),
        nested_space(),
        spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.Box(0, 1), spaces.Discrete(3)])]),
    ],
)
def test_what_is_read_is_what_was_observed(space):
    space.seed(0)
    samples = [space.sample() for _ in range(3)]
    reader = ObservationReader(space)
    one_by_one = reader.empty(3)
    for row, sample in enumerate(samples):
        reader.write(sample, one_by_one, row)
    at_once = reader.read_batch(gym.vector.utils.concatenate(space, samples, _batch(space)), 3)
    flat = [tf.nest.flatten(sample) for sample in samples]
    expected = [np.stack(leaf) for leaf in zip(*flat, strict=True)]
    specs = tf.nest.flatten(tensor_spec(space))
    for arrays in (one_by_one, at_once):
        for array, leaf, spec in zip(arrays, expected, specs, strict=True):
            assert array.dtype == spec.dtype.as_numpy_dtype
            np.testing.assert_array_equal(array, leaf)


def _batch(space):
    return gym.vector.utils.create_empty_array(space, 3)


def test_a_batch_is_copied():
    batch = np.zeros((2, 3), np.float32)
    (array,) = ObservationReader(spaces.Box(0, 1, (3,))).read_batch(batch, 2)
    batch += 1
    assert not array.any()


@pytest.mark.parametrize("value", [2, np.int32(2), np.uint8(2), np.array(2)])
def test_any_integer_is_a_discrete_observation(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (array,) = write(spaces.Discrete(3), value)
    assert array == 2


@pytest.mark.fault(8)
def test_float64_is_cast_with_one_warning():
    reader = ObservationReader(spaces.Box(-1, 1, (2,), np.float32))
    arrays = reader.empty(1)
    with pytest.warns(UserWarning, match="observation comes as float64 .*float32") as record:
        reader.write(np.array([0.1, 0.2]), arrays, 0)
        reader.write(np.array([0.1, 0.2]), arrays, 0)
        reader.read_batch(np.array([[0.1, 0.2]]), 1)
    assert len(record) == 1
    np.testing.assert_array_equal(arrays[0], np.float32([[0.1, 0.2]]))


def test_a_warning_names_the_leaf():
    space = spaces.Dict(a=spaces.Box(0, 1), b=spaces.Box(0, 1))
    with pytest.warns(UserWarning, match=r"observation\['b'\] comes as float64"):
        write(space, {"a": np.zeros(1, np.float32), "b": np.zeros(1)})


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("space", "value", "received"),
    [
        (spaces.Box(0, 255, (2,), np.uint8), np.zeros(2, np.float32), "uint8; received float32"),
        (spaces.Discrete(3), 1.0, "int64; received float64"),
        (spaces.Box(0, 1, (2,)), np.zeros(2, complex), "float32; received complex128"),
        (spaces.Box(0, 1, ()), None, "float32; received object"),
        (spaces.Box(0, 1, ()), "1", "float32; received <U1"),
    ],
)
def test_what_cannot_be_cast_is_refused(space, value, received):
    with pytest.raises(EnvError, match=f"^observation must be {received}.* Return the space's"):
        write(space, value)
    with pytest.raises(EnvError, match=f"^observation must be {received}"):
        ObservationReader(space).read_batch(np.stack([value]), 1)


@pytest.mark.fault(9)
def test_a_wrong_shape_is_refused():
    space = spaces.Box(0, 1, (2, 3))
    with pytest.raises(EnvError, match=r"must have shape \(2, 3\); received \(3, 2\)"):
        write(space, np.zeros((3, 2), np.float32))
    with pytest.raises(EnvError, match=r"must have shape \(4, 2, 3\); received \(3, 2, 3\)"):
        ObservationReader(space).read_batch(np.zeros((3, 2, 3), np.float32), 4)


@pytest.mark.fault(11)
@pytest.mark.parametrize(
    ("observation", "received"),
    [
        ({"a": 0}, r"\['a'\]"),
        ({"a": 0, "b": 0, "c": 0}, r"\['a', 'b', 'c'\]"),
        ({"a": 0, 3: 0}, r"\['a', 3\]"),
        (7, "7"),
    ],
)
def test_other_keys_are_refused(observation, received):
    space = spaces.Tuple([spaces.Dict(a=spaces.Discrete(1), b=spaces.Discrete(1))])
    rule = rf"^observation\[0\] must be a dict with keys \['a', 'b'\]; received {received}$"
    with pytest.raises(EnvError, match=rule):
        write(space, (observation,))


@pytest.mark.parametrize("observation", [(0,), (0, 0, 0), 7, {"a": 0, "b": 0}])
def test_other_tuples_are_refused(observation):
    space = spaces.Dict(pair=spaces.Tuple([spaces.Discrete(1)] * 2))
    with pytest.raises(EnvError, match=r"^observation\['pair'\] must be a tuple of 2; received"):
        write(space, {"pair": observation})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_found(value):
    reader = ObservationReader(nested_space())
    arrays = [np.zeros_like(array) for array in reader.empty(3)]
    assert reader.non_finite(arrays) is None
    arrays[4][2] = value
    path, row, found = reader.non_finite(arrays)
    assert (path, row) == ("observation['pair'][1]['scalar']", 2)
    np.testing.assert_equal(found, value)


def test_what_overflows_when_cast_is_found():
    reader = ObservationReader(spaces.Box(-np.inf, np.inf, (2,), np.float32))
    arrays = [np.zeros_like(array) for array in reader.empty(1)]
    with np.errstate(over="ignore"), pytest.warns(UserWarning, match="float64"):
        reader.write(np.array([0, 1e300]), arrays, 0)
    assert reader.non_finite(arrays) == ("observation", 0, np.inf)


@pytest.mark.regression(16)
@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Box(0, 255, (3,), np.uint8), [0, 7, 255]),
        (spaces.Box(0, 255, (3,), np.uint8), np.array([0, 7, 255])),
        (spaces.Box(0, 255, (3,), np.uint8), np.uint64([0, 7, 255])),
        (spaces.Box(0, 255, (), np.uint8), 255),
        (spaces.Box(0, 2**16 - 1, (2,), np.uint16), [0, 2**16 - 1]),
        (spaces.Box(0, 2**32 - 1, (2,), np.uint32), [0, 2**32 - 1]),
        (spaces.Box(0, 2**63, (2,), np.uint64), np.array([0, 9])),
        (spaces.Box(-128, 127, (2,), np.int8), np.uint8([0, 127])),
        (spaces.Discrete(3, dtype=np.int32), 2),
        (spaces.MultiBinary(2), [True, False]),
        (spaces.MultiDiscrete([3, 4], dtype=np.uint8), np.array([2, 3])),
    ],
)
def test_integers_that_fit_are_cast(space, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (array,) = write(space, value)
        (batch,) = ObservationReader(space).read_batch(np.stack([value, value]), 2)
    assert array.dtype == batch.dtype == space.dtype
    np.testing.assert_array_equal(array, value)
    np.testing.assert_array_equal(batch, [value, value])


@pytest.mark.regression(16)
@pytest.mark.parametrize(
    ("space", "value", "where", "received"),
    [
        (spaces.Box(0, 255, (3,), np.uint8), [0, 256, -1], r"\[1\]", "256 of int64"),
        (spaces.Box(0, 255, (3,), np.uint8), np.array([0, 1, -1]), r"\[2\]", "-1 of int64"),
        (spaces.Box(0, 255, (), np.uint8), -3, "", "-3 of int64"),
        (spaces.Box(-128, 127, (1,), np.int8), np.uint8([128]), r"\[0\]", "128 of uint8"),
        (spaces.Box(0, 9, (1,), np.int32), [2**31], r"\[0\]", "2147483648 of int64"),
        (spaces.Discrete(3, dtype=np.int32), 2**40, "", "1099511627776 of int64"),
    ],
)
def test_the_integer_that_does_not_fit_is_named(space, value, where, received):
    with pytest.raises(EnvError, match=f"^observation{where} must be .*; received {received}"):
        write(space, value)
    with pytest.raises(EnvError, match=f"^observation.* must be .*; received {received}"):
        ObservationReader(space).read_batch(np.stack([value]), 1)
