import gymnasium as gym
import keras
import numpy as np
import pytest

from kerasrl.networks import MLP, CriticMultiplexer, LayerNormMLP

RNG = np.random.default_rng(0)
OBSERVATION = RNG.normal(size=(5, 3)).astype(np.float32)
ACTION = RNG.normal(size=(5, 2)).astype(np.float32)
NEST = {
    "b": RNG.normal(size=(5, 2, 2)).astype(np.float32),
    "a": (RNG.normal(size=5).astype(np.float32), RNG.normal(size=(5, 1)).astype(np.float32)),
}
FLAT_NEST = np.concatenate([NEST["a"][0][:, None], NEST["a"][1], NEST["b"].reshape(5, 4)], axis=-1)


def dense(units, **kwargs):
    return keras.layers.Dense(units, "tanh", **kwargs)


def test_without_networks_it_concatenates(mode):
    joint = mode(CriticMultiplexer())([OBSERVATION, ACTION])
    np.testing.assert_array_equal(joint, np.concatenate([OBSERVATION, ACTION], axis=-1))


def test_nests_are_flattened_in_order(mode):
    joint = mode(CriticMultiplexer())([NEST, ACTION.reshape(5, 2, 1)])
    np.testing.assert_array_equal(joint, np.concatenate([FLAT_NEST, ACTION], axis=-1))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8, bool])
def test_everything_is_cast_to_float(mode, dtype):
    observation, action = np.array([[1, 0, 1]], dtype), np.array([[1, 1]], dtype)
    joint = mode(CriticMultiplexer())([observation, action])
    assert joint.dtype == np.float32
    np.testing.assert_array_equal(joint, [[1, 0, 1, 1, 1]])


def test_networks_are_applied_to_their_parts(mode):
    critic, actions, observations = dense(4), dense(3), dense(2)
    layer = CriticMultiplexer(critic, actions, observations)
    layer([OBSERVATION, ACTION])
    parts = [observations(OBSERVATION), actions(ACTION)]
    expected = critic(np.concatenate(parts, axis=-1))
    np.testing.assert_allclose(mode(layer)([OBSERVATION, ACTION]), expected, rtol=1e-5, atol=1e-6)
    assert len(layer.trainable_weights) == 6


def test_an_observation_network_is_given_the_nest(mode):
    inputs = {"b": keras.Input((2, 2)), "a": (keras.Input(()), keras.Input((1,)))}
    flat = keras.layers.Flatten()(inputs["b"])
    layer = CriticMultiplexer(observation_network=keras.Model(inputs, 2 * flat))
    joint = mode(layer)([NEST, ACTION])
    np.testing.assert_array_equal(joint, np.hstack([2 * NEST["b"].reshape(5, 4), ACTION]))


def test_training_reaches_the_networks():
    layer = CriticMultiplexer(keras.Sequential([keras.layers.Dropout(0.5)]))
    model_inputs = [keras.Input((3,)), keras.Input((2,))]
    model = keras.Model(model_inputs, layer(model_inputs))
    ones = [np.ones((50, 3), np.float32), np.ones((50, 2), np.float32)]
    assert np.all(model(ones, training=False) == np.float32(1))
    assert np.any(model(ones, training=True) == np.float32(0))


def critic():
    observation = {"b": keras.Input((2, 2)), "a": (keras.Input(()), keras.Input((1,)))}
    action = keras.Input((2,))
    network = keras.Sequential([LayerNormMLP((8, 4)), keras.layers.Dense(1)])
    layer = CriticMultiplexer(network, dense(3), name="critic")
    return keras.Model([observation, action], layer([observation, action]))


@pytest.mark.filterwarnings("error:.*build:UserWarning")
def test_it_is_saved_and_loaded_with_its_networks(reloaded):
    model = critic()
    loaded = reloaded(model)
    np.testing.assert_array_equal(loaded([NEST, ACTION]), model([NEST, ACTION]))
    assert model([NEST, ACTION]).shape == (5, 1)
    assert len(loaded.trainable_weights) == len(model.trainable_weights) == 10
    assert isinstance(loaded.get_layer("critic").action_network, keras.layers.Dense)
    assert loaded.get_layer("critic").observation_network is None


@pytest.mark.filterwarnings("error:.*build:UserWarning")
def test_its_config_makes_a_layer_with_fresh_weights():
    layer = CriticMultiplexer(MLP((4, 1)), observation_network=dense(3))
    layer([OBSERVATION, ACTION])
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "kerasrl>CriticMultiplexer"
    copy = keras.saving.deserialize_keras_object(config)
    copy([OBSERVATION, ACTION])
    assert not {id(w) for w in copy.weights} & {id(w) for w in layer.weights}
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy([OBSERVATION, ACTION]), layer([OBSERVATION, ACTION]))


def test_it_converts_to_lite(lite):
    layer = CriticMultiplexer(MLP((4, 2)))
    policy = lambda o: layer([{"x": o["x"], "y": o["y"]}, o["y"]])  # noqa: E731
    space = gym.spaces.Dict(x=gym.spaces.Box(-1, 1, (3,)), y=gym.spaces.Box(-1, 1, (2,)))
    snapshot = lite(policy, space, 5)
    expected = policy({"x": OBSERVATION, "y": ACTION})
    np.testing.assert_allclose(snapshot([OBSERVATION, ACTION]), expected, rtol=1e-5, atol=1e-6)
