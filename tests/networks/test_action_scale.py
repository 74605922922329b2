import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.networks import ActionScale

Box = gym.spaces.Box
# Of shape (2, 2), with bounds of its own in every dimension, of which the last is constant.
SPACE = Box(np.float32([[-2, 0], [10, 3]]), np.float32([[2, 1], [30, 3]]))


def test_the_scale_and_the_offset_by_hand():
    scale = ActionScale(SPACE)
    assert scale.size == 4
    np.testing.assert_array_equal(scale.low, [-2, 0, 10, 3])
    np.testing.assert_array_equal(scale.high, [2, 1, 30, 3])
    np.testing.assert_array_equal(scale.scale, [2, 0.5, 10, 0])
    np.testing.assert_array_equal(scale.offset, [0, 0.5, 20, 3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_numbers_that_networks_see_are_float32(dtype):
    scale = ActionScale(Box(-1, 3, (2,), dtype))
    assert scale.scale.dtype == scale.offset.dtype == np.float32
    assert scale.to_unit(tf.constant([[0, 3]], tf.as_dtype(dtype))).dtype == tf.float32


def test_to_unit_by_hand(mode):
    actions = np.float32([[[-2, 1], [20, 3]], [[1, 0.25], [30, 3]]])
    unit = mode(ActionScale(SPACE).to_unit)(tf.constant(actions))
    np.testing.assert_allclose(unit, [[-1, 1, 0, 0], [0.5, -0.5, 1, 0]], atol=1e-6)


def test_from_unit_by_hand(mode):
    unit = np.float32([[-1, 1, 0, 0], [0.5, -0.5, 1, 1]])
    expected = [[-2, 1, 20, 3], [1, 0.25, 30, 3]]
    scale = ActionScale(SPACE)
    np.testing.assert_allclose(scale.from_unit(unit), expected, atol=1e-6)
    np.testing.assert_allclose(mode(scale.from_unit)(tf.constant(unit)), expected, atol=1e-6)


def test_shaped_by_hand(mode):
    scale = ActionScale(SPACE)
    flat = np.float32([[-2, 1, 20, 3], [-5, 0.25, 31, 3]])
    expected = [[[-2, 1], [20, 3]], [[-2, 0.25], [30, 3]]]
    for actions in (scale.shaped(flat), mode(scale.shaped)(tf.constant(flat))):
        np.testing.assert_array_equal(actions, expected)
        assert actions.dtype == np.float32
    assert isinstance(scale.shaped(flat), np.ndarray)


@pytest.mark.parametrize("shape", [(), (1,), (3, 2)])
def test_no_action_is_also_a_batch(shape):
    scale = ActionScale(Box(-1, 1, shape))
    empty = np.zeros((0, scale.size), np.float32)
    assert scale.shaped(empty).shape == (0, *shape)
    assert scale.shaped(tf.constant(empty)).shape == (0, *shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_rounding_carries_past_a_bound_is_brought_back(dtype):
    # As float32, 0.1 is greater than as float64, and 0.7 is less.
    rng = np.random.default_rng(0)
    low = np.concatenate([[-0.1, 0.7], rng.normal(size=200)]).astype(dtype)
    high = np.concatenate([[0.1, 6.1], low[2:] + rng.uniform(0.1, 3, 200)]).astype(dtype)
    space = Box(low, high, dtype=dtype)
    scale = ActionScale(space)
    ends = scale.from_unit(np.repeat(np.float32([[-1], [1]]), 202, axis=1))
    if dtype != np.float16:  # Its bounds are exact.
        assert not all(space.contains(action.astype(dtype)) for action in ends)
    for actions in (scale.shaped(ends), scale.shaped(tf.constant(ends)).numpy()):
        assert all(space.contains(action) for action in actions)
        np.testing.assert_allclose(actions, [low, high], atol=1e-6)
        assert actions.dtype == dtype


def test_bounds_as_far_apart_as_numbers_go():
    scale = ActionScale(Box(-3e38, 3e38, (1,), np.float32))
    np.testing.assert_allclose(scale.scale, [3e38], rtol=1e-6)
    np.testing.assert_allclose(scale.to_unit(np.float32([[-3e38]])), [[-1]])
