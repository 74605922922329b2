import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import NetworkError
from kerasrl.networks import NatureCNN


def images(value, size=36):
    return np.full((2, size, size, 4), value, np.uint8)


@pytest.mark.fault(17)
@pytest.mark.parametrize(("pixel", "feature"), [(255, 1.0), (51, 0.2), (0, 0.0)])
@pytest.mark.table
def test_pixels_are_scaled_once(mode, pixel, feature):
    # With kernels that average what they see, every layer passes a constant image on.
    layer = NatureCNN()
    layer(images(0))
    for weight in layer.weights:
        fan_in = np.prod(weight.shape[:-1])
        weight.assign(np.full(weight.shape, 1 / fan_in if weight.shape.rank > 1 else 0.0))
    features = mode(layer)(tf.constant(images(pixel)))
    np.testing.assert_allclose(features, np.full((2, 512), feature, np.float32), rtol=1e-5)


def test_it_has_the_sizes_of_the_paper():
    # 8 x 8 x 4 x 32 + 32, 4 x 4 x 32 x 64 + 64, 3 x 3 x 64 x 64 + 64, 7 x 7 x 64 x 512 + 512.
    layer = NatureCNN()
    layer(images(0, size=84))
    assert layer.count_params() == 8_224 + 32_832 + 36_928 + 1_606_144


def test_every_layer_is_rectified():
    layer = NatureCNN()
    layer(images(0))
    for part in layer.stack[:3]:
        part.bias.assign(-tf.ones_like(part.bias))
        assert not np.any(part(tf.zeros((1, 8, 8, part.kernel.shape[2]))))
    layer.stack[4].bias.assign(-tf.ones(512))
    assert not np.any(layer(images(0)))


@pytest.mark.parametrize("inputs", [{}, {"dtype": "float64"}, {"dtype": "int32"}])
def test_images_that_were_cast_are_refused(inputs):
    with pytest.raises(NetworkError, match=r"received (float|int)\d\d. .*dtype='uint8'"):
        NatureCNN()(keras.Input((36, 36, 4), **inputs))


def test_it_computes_in_half_precision_where_that_is_asked():
    policy = keras.mixed_precision.global_policy()
    try:
        keras.mixed_precision.set_global_policy("mixed_float16")
        assert NatureCNN()(images(9)).dtype == tf.float16
    finally:
        keras.mixed_precision.set_global_policy(policy)


def test_it_is_saved(tmp_path):
    inputs = keras.Input((36, 36, 4), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Dense(2)(NatureCNN(name="torso")(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.get_layer("torso"), NatureCNN)
    np.testing.assert_array_equal(loaded(images(9)), model(images(9)))


@pytest.mark.parametrize("with_input", [True, False])
@pytest.mark.table
def test_dqn_learns_from_images(tiny_env, with_input):
    space = gym.spaces.Box(0, 255, (36, 36, 4), np.uint8)
    inputs = [keras.Input((36, 36, 4), dtype="uint8")] if with_input else []
    torso = NatureCNN()
    agent = kerasrl.DQN(keras.Sequential([*inputs, torso, keras.layers.Dense(2)]))
    agent.compile()
    agent.build(tiny_env(space))
    before = torso.get_weights()
    history = agent.fit(
        tiny_env(space),
        steps_per_epoch=3,
        batch_size=4,
        callbacks=[Collect(warmup_steps=32)],
        verbose=0,
    ).history
    assert np.isfinite(history["loss"]).all()
    for one, other in zip(before, torso.get_weights(), strict=True):
        assert not np.array_equal(one, other)
