"""kerasrl's own layers under a policy of mixed precision, against themselves in float32."""

import numpy as np
import pytest
import tensorflow as tf

from kerasrl import networks

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 36, 36, 1)).astype(np.uint8)
FAR = 1e6 * np.float32([2, 0, 3])
# How it is made, what it is given, and whether it puts out float32, as a last layer should.
LAYERS = {
    "MLP": (lambda **k: networks.MLP((4, 2), "tanh", **k), X, False),
    "LayerNormMLP": (lambda **k: networks.LayerNormMLP((4, 2), **k), X, False),
    "NatureCNN": (networks.NatureCNN, IMAGES, False),
    "OneHot": (lambda **k: networks.OneHot([3], [1], **k), np.array([[1], [3]]), False),
    "CriticMultiplexer": (networks.CriticMultiplexer, [X, X], False),
    "ClippedGaussian": (lambda **k: networks.ClippedGaussian(0.0, **k), X, False),
    "OrnsteinUhlenbeck": (lambda **k: networks.OrnsteinUhlenbeck(0.0, **k), X, False),
    "ObservationNormalization": (networks.ObservationNormalization, X, False),
    "DuelingHead": (lambda **k: networks.DuelingHead(2, **k), X, True),
    "DiscreteValuedHead": (lambda **k: networks.DiscreteValuedHead(-1, 1, 5, **k), X, True),
    "GaussianHead": (lambda **k: networks.GaussianHead(2, 0.123, **k), X, True),
    "NearZeroInitializedDense": (lambda **k: networks.NearZeroInitializedDense(2, **k), X, False),
    "TanhToSpec": (lambda **k: networks.TanhToSpec(-FAR, FAR, **k), X, True),
    "RescaleToSpec": (lambda **k: networks.RescaleToSpec(-FAR, FAR, **k), X, True),
    "ClipToSpec": (lambda **k: networks.ClipToSpec([-0.1] * 3, [0.1] * 3, **k), X, True),
}


@pytest.mark.regression(8)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_nearly_what_it_does_in_float32(name):
    make, inputs, last = LAYERS[name]
    layers = [make(dtype=dtype) for dtype in ("float32", "mixed_float16")]
    expected = layers[0](inputs)
    received = layers[1](inputs)
    layers[1].set_weights(layers[0].get_weights())
    received = layers[1](inputs)
    assert received.dtype == (tf.float32 if last else tf.float16)
    assert all(variable.dtype in (tf.float32, tf.int64) for variable in layers[1].variables)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(received, expected, atol=5e-3 * scale)
    assert np.isfinite(received).all()


@pytest.mark.regression(8)
def test_the_layers_within_a_layer_have_its_precision():
    layers = (
        networks.MLP((2,), dtype="mixed_float16"),
        networks.LayerNormMLP((2, 2), dtype="mixed_float16"),
        networks.NatureCNN(dtype="mixed_float16"),
    )
    for layer in layers:
        names = {inner.dtype_policy.name for inner in networks.all_layers(layer)}
        assert names == {"mixed_float16"}, layer.name


@pytest.mark.regression(8)
def test_observations_are_normalised_before_they_are_less_than_float32():
    layer = networks.ObservationNormalization(dtype="mixed_float16")
    observations = np.float32([[200_001, 0.5], [199_999, 0.25]])  # More than a float16 can be.
    layer.adapt(observations)
    np.testing.assert_allclose(layer(observations), [[1, 1], [-1, -1]], atol=1e-2)
