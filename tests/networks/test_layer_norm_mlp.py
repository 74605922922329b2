import gymnasium as gym
import keras
import numpy as np
import pytest

from kerasrl.networks import LayerNormMLP

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def numpy_first_layer(layer, x):
    kernel, bias, scale, offset = layer.get_weights()[:4]
    x = x @ kernel + bias
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return np.tanh(normal * scale + offset)


@pytest.mark.parametrize("activate_final", [False, True])
@pytest.mark.table
def test_it_matches_numpy(mode, activate_final):
    layer = LayerNormMLP((6, 4, 2), activate_final=activate_final)
    layer(X)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    k2, b2, k3, b3 = layer.get_weights()[4:]
    expected = elu(numpy_first_layer(layer, X) @ k2 + b2) @ k3 + b3
    expected = elu(expected) if activate_final else expected
    np.testing.assert_allclose(mode(layer)(X), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        mode(layer)(X[:, None, :]), expected[:, None, :], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("activate_final", [False, True])
def test_a_single_layer_ends_in_its_tanh(mode, activate_final):
    layer = LayerNormMLP([4], activate_final=activate_final)
    layer(X)
    np.testing.assert_allclose(mode(layer)(X), numpy_first_layer(layer, X), rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_observation_does_not_matter():
    layer = LayerNormMLP((6, 2))
    np.testing.assert_allclose(layer(1e4 * X), layer(1e6 * X), rtol=1e-3, atol=1e-5)


def test_kernels_are_uniform_with_a_variance_of_a_third_of_one_over_the_width():
    # acme tf/networks/continuous.py: VarianceScaling(0.333, "fan_out", "uniform").
    keras.utils.set_random_seed(0)
    layer = LayerNormMLP((400, 300))
    layer(np.zeros((1, 200), np.float32))
    for kernel, width in zip(layer.get_weights()[::4], (400, 300), strict=True):
        np.testing.assert_allclose(np.abs(kernel).max(), np.sqrt(1 / width), rtol=0.01)
        np.testing.assert_allclose(kernel.var(), 1 / (3 * width), rtol=0.02)


def test_another_activation():
    layer = LayerNormMLP((4, 3), activation="relu", activate_final=True)
    assert np.min(layer(X)) == 0


def test_it_is_saved_and_loaded(reloaded):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, LayerNormMLP((4, 3, 2), "relu", activate_final=True)(inputs))
    assert model.output_shape == (None, 2)
    loaded = reloaded(model)
    np.testing.assert_array_equal(loaded(X), model(X))
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    config = keras.saving.serialize_keras_object(model.layers[-1])
    assert config["registered_name"] == "kerasrl>LayerNormMLP"


def test_it_converts_to_lite(lite):
    layer = LayerNormMLP((8, 8, 2))
    snapshot = lite(layer, gym.spaces.Box(-1, 1, (3,)), 5)
    np.testing.assert_allclose(snapshot([X]), layer(X), rtol=1e-4, atol=1e-5)


def test_no_width_is_refused():
    with pytest.raises(ValueError, match=r"at least one layer; received units=\(\)"):
        LayerNormMLP([])
