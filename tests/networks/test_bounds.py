import warnings

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.networks import GaussianActions, clip_to_bounds


def test_by_hand(mode):
    low, high = np.float32([-1, -np.inf, 2]), np.float32([1, 0.5, np.inf])
    actions = tf.constant([[-3.0, -30.0, 0.0], [0.25, 7.0, 80.0]])
    clipped = mode(lambda x: clip_to_bounds(x, low, high))(actions)
    np.testing.assert_array_equal(clipped, [[-1, -30, 2], [0.25, 0.5, 80]])
    assert clipped.dtype == tf.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_at_a_bound_is_within_it_in_its_own_dtype(dtype):
    # As float32, 0.1 is greater than as float64, and 0.7 is less.
    low = np.array([-0.1, 0.7], dtype)
    high = np.array([0.1, 6.1], dtype)
    for far, bound in ((-1e30, low), (1e30, high)):
        (clipped,) = clip_to_bounds(tf.fill((1, 2), far), low, high).numpy()
        assert clipped.dtype == dtype
        assert (low <= clipped).all() and (clipped <= high).all()
        np.testing.assert_allclose(clipped, bound, rtol=1e-3)


def test_bounds_beyond_all_float32s():
    low, high = np.array([-1e300]), np.array([1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (clipped,) = clip_to_bounds(tf.constant([[np.inf]]), low, high).numpy()
    assert 1e38 < clipped[0] < 1e300


def test_the_greedy_gaussian_action_is_one_of_a_float64_space():
    space = gym.spaces.Box(-0.1, 0.1, (2,), np.float64)
    (action,) = GaussianActions(space).mode(tf.constant([[5.0, -5.0, 0.0, 0.0]])).numpy()
    assert space.contains(action)
    np.testing.assert_allclose(action, [0.1, -0.1], rtol=1e-6)
