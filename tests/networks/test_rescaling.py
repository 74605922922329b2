import json

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import ArgumentError, SpaceError
from kerasrl.networks import ClipToSpec, RescaleToSpec, TanhToSpec

LAYERS = [ClipToSpec, RescaleToSpec, TanhToSpec]
LOW, HIGH = [-2.0, 0.0], [2.0, 10.0]


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (ClipToSpec, [[-5, -5], [1, 1], [5, 50]], [[-2, 0], [1, 1], [2, 10]]),
        (RescaleToSpec, [[-1, -1], [0, 0.5], [1, 1]], [[-2, 0], [0, 7.5], [2, 10]]),
        (RescaleToSpec, [[2, -2]], [[4, -5]]),
        # atanh(0.5) is half of log(3).
        (TanhToSpec, [[-50, -50], [0, np.log(3) / 2], [50, 50]], [[-2, 0], [0, 7.5], [2, 10]]),
    ],
)
def test_values_by_hand(mode, layer, inputs, expected):
    actual = mode(layer(LOW, HIGH))(np.float32(inputs))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_one_bound_for_all(mode, layer):
    x = np.random.default_rng(0).normal(scale=3, size=(4, 3, 2)).astype(np.float32)
    several = mode(layer(np.full(2, -0.1), np.full(2, 0.3)))(x)
    assert several.shape == x.shape
    np.testing.assert_array_equal(mode(layer(-0.1, 0.3))(x), several)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_shape_of_the_action_and_the_same_flattened(mode, layer):
    rng = np.random.default_rng(0)
    space = gym.spaces.Box(
        rng.uniform(-3, 0, (2, 3)).astype(np.float32), rng.uniform(0, 3, (2, 3)).astype(np.float32)
    )
    x = rng.normal(scale=2, size=(5, 2, 3)).astype(np.float32)
    whole = mode(layer.from_space(space))(x)
    assert whole.shape == (5, 2, 3)
    flat = mode(layer.from_space(space))(x.reshape(5, 6))
    np.testing.assert_array_equal(flat, np.reshape(whole, (5, 6)))
    in_time = mode(layer.from_space(space))(x[:, None])
    np.testing.assert_array_equal(in_time[:, 0], whole)
    row_by_row = np.stack([layer(space.low[i], space.high[i])(x[:, i]) for i in range(2)], axis=1)
    np.testing.assert_allclose(whole, row_by_row, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [ClipToSpec, TanhToSpec])
def test_what_comes_out_is_never_out_of_bounds(mode, layer):
    # Bounds that float32 does not have, narrow ones far from zero, and values near saturation.
    low, high = np.float32([-0.1, 1e4, -1e-3]), np.float32([0.3, 1e4 + 0.1, 1 / 3])
    space = gym.spaces.Box(low, high)
    x = np.float32([-1e5, *np.linspace(-12, 12, 5001), 1e5])[:, None].repeat(3, axis=1)
    out = np.asarray(mode(layer.from_space(space))(x))
    assert out.dtype == np.float32
    assert (out >= low).all() and (out <= high).all()
    assert (out[0] == low).all() and (out[-1] == high).all()


def test_rescaling_meets_the_bounds_exactly(mode):
    low, high = np.float32([-0.1, -7.3]), np.float32([0.3, 1 / 3])
    out = mode(RescaleToSpec(low, high))(np.float32([[-1, -1], [1, 1]]))
    np.testing.assert_array_equal(out, [low, high])


def test_tanh_passes_a_gradient(mode):
    layer = TanhToSpec(LOW, HIGH)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return tape.gradient(y, x)

    actual = mode(gradient)(tf.constant([[0.0, 0.0], [1.0, -1.0]]))
    np.testing.assert_allclose(actual, [[2, 5], [2 / np.cosh(1) ** 2, 5 / np.cosh(1) ** 2]], 1e-5)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("bounds", [(-0.1, 0.3), (LOW, HIGH), ([[-1, 0]], [[1, 2]])], ids=str)
def test_configs_are_json_and_make_the_same_layer_again(layer, bounds):
    one = layer(*bounds)
    config = json.loads(json.dumps(one.get_config()))
    assert config["minimum"] == bounds[0] and config["maximum"] == bounds[1]
    assert layer.from_config(config).get_config() == one.get_config()


@pytest.mark.parametrize("layer", LAYERS)
def test_they_are_saved_and_loaded(layer, reloaded):
    inputs = keras.Input((2,))
    outputs = layer.from_space(gym.spaces.Box(np.float32([-2, 0.1]), np.float32([2, 10])))(inputs)
    model = keras.Model(inputs, outputs)
    x = np.random.default_rng(0).normal(scale=3, size=(5, 2)).astype(np.float32)
    np.testing.assert_array_equal(reloaded(model)(x), model(x))
    config = keras.saving.serialize_keras_object(model.layers[-1])
    assert config["registered_name"] == f"kerasrl>{layer.__name__}"


@pytest.mark.parametrize("layer", LAYERS)
def test_they_convert_to_lite(layer, lite):
    policy = layer(LOW, HIGH)
    x = np.random.default_rng(0).normal(scale=3, size=(5, 2)).astype(np.float32)
    snapshot = lite(policy, gym.spaces.Box(-9, 9, (2,)), 5)
    np.testing.assert_allclose(snapshot([x]), policy(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(3),
        gym.spaces.Box(-np.inf, 1, (2,)),
        gym.spaces.Box(np.float32([0, 0]), np.float32([1, np.inf])),
    ],
    ids=str,
)
def test_other_spaces_are_refused(layer, space):
    with pytest.raises(SpaceError, match=f"{layer.__name__}.* Box with finite .*RescaleAction"):
        layer.from_space(space)


@pytest.mark.parametrize(
    "bounds", [(1, 0), ([0, 0], [1, -1]), (0, np.inf), (np.nan, 1), (0, [1, 1])], ids=str
)
def test_other_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="TanhToSpec needs finite bounds of one shape"):
        TanhToSpec(*bounds)


@pytest.mark.regression(37)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_box_has_both_bounds(layer):
    one = layer(gym.spaces.Box(np.float32(LOW), np.float32(HIGH)), name="bounds")
    assert one.get_config() == layer(LOW, HIGH, name="bounds").get_config()
    with pytest.raises(SpaceError, match=f"{layer.__name__} needs a Box with finite bounds"):
        layer(gym.spaces.Discrete(3))
    with pytest.raises(ArgumentError, match=f"{layer.__name__} needs a minimum and a maximum, or"):
        layer(0.0)


@pytest.mark.parametrize("shape", [(5, 3), (5, 4, 1), (5, 2, 3), (4, 1)])
def test_other_inputs_are_refused(mode, shape):
    layer = TanhToSpec(np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"of the shape \(2, 2\).* or in 4; received"):
        mode(layer)(np.zeros(shape, np.float32))
