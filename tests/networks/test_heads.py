import gymnasium as gym
import keras
import numpy as np
import pytest

from kerasrl.networks import DiscreteValuedHead, NearZeroInitializedDense

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_atoms_are_evenly_spaced_from_end_to_end():
    atoms = DiscreteValuedHead(-150, 150, 51).atoms
    assert atoms.shape == (51,) and atoms.dtype == np.float32
    np.testing.assert_array_equal(atoms, np.arange(-150, 151, 6))


def test_logits_are_a_dense_layer_of_the_features(mode):
    head = DiscreteValuedHead(0, 1, 4)
    head(X)
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(mode(head)(X), X @ kernel + bias, rtol=1e-5, atol=1e-6)
    assert mode(head)(X[:, None]).shape == (5, 1, 4)


def test_the_mean_by_hand(mode):
    # Probabilities of 1/6, 2/6 and 3/6, and of 1 for the last atom.
    head = DiscreteValuedHead(-1, 1, 3)
    logits = np.float32([[0, np.log(2), np.log(3)], [-100, -100, 100]])
    np.testing.assert_allclose(mode(head.mean)(logits), [1 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(mode(head.mean)(logits[:, None]), [[1 / 3], [1]], rtol=1e-6)


@pytest.mark.parametrize(
    "arguments", [(1, 1, 3), (1, 0, 3), (0, 1, 1), (0, np.inf, 3), (np.nan, 1, 3)]
)
def test_atoms_that_are_none_are_refused(arguments):
    with pytest.raises(ValueError, match="finite minimum < maximum and num_atoms >= 2; received"):
        DiscreteValuedHead(*arguments)


def test_a_near_zero_layer_starts_near_zero():
    keras.utils.set_random_seed(0)
    layer = NearZeroInitializedDense(300)
    layer(np.zeros((1, 100), np.float32))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(kernel.var(), 1e-4 / 100, rtol=0.05)
    assert not bias.any()
    other = NearZeroInitializedDense(300, scale=4.0)
    other(np.zeros((1, 100), np.float32))
    np.testing.assert_allclose(other.get_weights()[0].var(), 4 / 100, rtol=0.05)


def test_a_near_zero_layer_takes_the_arguments_of_a_dense_one(mode):
    layer = NearZeroInitializedDense(2, activation="tanh", use_bias=False)
    layer(X)
    (kernel,) = layer.get_weights()
    np.testing.assert_allclose(mode(layer)(X), np.tanh(X @ kernel), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "layer",
    [DiscreteValuedHead(-2, 3.5, 7), NearZeroInitializedDense(4, 0.1, activation="relu")],
    ids=lambda layer: type(layer).__name__,
)
def test_they_are_saved_and_loaded(layer, reloaded):
    model = keras.Sequential([keras.Input((3,)), layer])
    loaded = reloaded(model)
    np.testing.assert_array_equal(loaded(X), model(X))
    assert loaded.layers[0].get_config() == layer.get_config()
    registered = keras.saving.serialize_keras_object(layer)["registered_name"]
    assert registered == f"kerasrl>{type(layer).__name__}"


def test_the_values_of_a_head_convert_to_lite(lite):
    head = DiscreteValuedHead(-150, 150, 201)
    snapshot = lite(lambda x: head.mean(head(x)), gym.spaces.Box(-1, 1, (3,)), 5)
    np.testing.assert_allclose(snapshot([X]), head.mean(head(X)), rtol=1e-4, atol=1e-3)


def test_a_near_zero_layer_converts_to_lite(lite):
    layer = NearZeroInitializedDense(2)
    snapshot = lite(layer, gym.spaces.Box(-1, 1, (3,)), 5)
    np.testing.assert_allclose(snapshot([X]), layer(X), rtol=1e-4, atol=1e-7)
