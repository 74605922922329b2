import warnings

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl import networks
from kerasrl.envs.spec import tensor_spec
from kerasrl.networks.features import observation_features
from kerasrl.policies import PolicySnapshot
from kerasrl.testing import nested_space

spaces = gym.spaces
NUM_ENVS = 3


def box(*shape, dtype=np.float32):
    return spaces.Box(-2, 2, shape, dtype)


def dense(space, units=2):
    """A network of dense layers on the features of any space."""
    inputs, features = observation_features(space)
    hidden = keras.layers.Dense(8, "relu")(features)
    return keras.Model(inputs, keras.layers.Dense(units)(hidden))


def batches(space, count=3):
    """Batches of samples, as lists of leaves."""
    space.seed(0)
    for _ in range(count):
        samples = [tf.nest.flatten(space.sample()) for _ in range(NUM_ENVS)]
        specs = tf.nest.flatten(tensor_spec(space))
        yield [
            np.stack(leaf).astype(spec.dtype.as_numpy_dtype)
            for leaf, spec in zip(zip(*samples, strict=True), specs, strict=True)
        ]


def assert_equal(snapshot, policy, space):
    for leaves in batches(space):
        nest = tf.nest.pack_sequence_as(tensor_spec(space), [tf.constant(x) for x in leaves])
        expected = policy(nest).numpy()
        received = snapshot(leaves)
        assert received.dtype == expected.dtype
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


def converted(policy, space):
    """The snapshot of a policy, which must not fall back to TensorFlow."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return PolicySnapshot(policy, tensor_spec(space), NUM_ENVS)


@pytest.mark.parametrize(
    "space",
    [
        box(3),
        box(3, dtype=np.float64),
        box(2, 3),
        spaces.Discrete(4, start=2),
        spaces.MultiBinary((2, 2)),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(0, 255, (6, 6, 1), np.uint8),
        spaces.Box(-5, 5, (3,), np.int32),
        spaces.Dict(b=box(3), a=box(3), c=box(3)),
        spaces.Tuple([box(3), box(3)]),
        spaces.Tuple([spaces.Discrete(5), spaces.Discrete(5), spaces.Discrete(5)]),
        nested_space(),
    ],
    ids=str,
)
def test_it_computes_what_the_network_computes(space):
    network = dense(space)
    assert_equal(converted(network, space), network, space)


def conv():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, 2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


def normalised():
    network = keras.Sequential(
        [
            keras.Input(3),
            keras.layers.Dense(8),
            keras.layers.BatchNormalization(),
            keras.layers.LayerNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    for weight in network.weights:  # The statistics, too.
        weight.assign(tf.random.uniform(weight.shape, 0.5, 1.5))
    return network


def recurrent():
    return keras.Sequential(
        [keras.Input(3), keras.layers.Reshape((3, 1)), keras.layers.GRU(4), keras.layers.Dense(2)]
    )


@pytest.mark.parametrize(
    ("make", "space"),
    [
        (conv, spaces.Box(0, 255, (8, 8, 2), np.uint8)),
        (normalised, box(3)),
        (recurrent, box(3)),
    ],
)
def test_other_layers(make, space):
    network = make()
    policy = lambda observation: network(observation, training=False)  # noqa: E731
    assert_equal(converted(policy, space), policy, space)


def test_leaves_that_look_alike_are_told_apart():
    space = spaces.Dict(b=box(3), a=box(3), c=box(3))
    policy = lambda o: o["a"] + 10 * o["b"] + 100 * o["c"]  # noqa: E731
    assert_equal(converted(policy, space), policy, space)


@pytest.mark.parametrize("used", ["a", "b", "c"])
def test_inputs_that_are_not_used(used):
    space = spaces.Dict(a=box(3), b=spaces.Discrete(3), c=box(2))
    layer = keras.layers.Dense(2)

    def policy(observation):
        return layer(tf.reshape(tf.cast(observation[used], tf.float32), (NUM_ENVS, -1)))

    assert_equal(converted(policy, space), policy, space)


@pytest.mark.parametrize(
    "head",
    [
        lambda q: tf.argmax(q, axis=-1) + 5,
        lambda q: tf.nn.softmax(q),
        lambda q: tf.split(q, 2, axis=-1)[1],
        lambda q: tf.tanh(q) * tf.constant([1.0, 2.0, 3.0, 4.0]),
        lambda q: q > 0,
    ],
)
def test_what_agents_do_after_the_network(head):
    network = dense(box(3), 4)
    policy = lambda observation: head(network(observation))  # noqa: E731
    assert_equal(converted(policy, box(3)), policy, box(3))


def test_a_layer_that_is_used_twice():
    layer = keras.layers.Dense(3, "tanh")
    policy = lambda observation: layer(layer(observation))  # noqa: E731
    snapshot = converted(policy, box(3))
    layer.kernel.assign(-layer.kernel)
    snapshot.update()
    assert_equal(snapshot, policy, box(3))


def test_weights_are_those_of_the_last_update():
    network = dense(box(3))
    twin = keras.models.clone_model(network)
    twin.set_weights(network.get_weights())
    snapshot = converted(network, box(3))
    for weight in network.weights:
        weight.assign_add(tf.random.normal(weight.shape))
    assert_equal(snapshot, twin, box(3))
    snapshot.update()
    assert_equal(snapshot, network, box(3))


def test_weights_that_are_no_part_of_a_layer():
    scale = tf.Variable(2.0)
    policy = lambda observation: scale * observation  # noqa: E731
    snapshot = converted(policy, box(3))
    scale.assign(3.0)
    snapshot.update()
    assert_equal(snapshot, policy, box(3))


def test_a_result_does_not_change_at_the_next_call():
    snapshot = converted(lambda observation: 2 * observation, box(3))
    first = snapshot([np.ones((NUM_ENVS, 3), np.float32)])
    snapshot([np.zeros((NUM_ENVS, 3), np.float32)])
    assert (first == 2).all()


@pytest.mark.parametrize("leaves", [0, 2])
def test_the_number_of_leaves_must_fit(leaves):
    snapshot = converted(dense(box(3)), box(3))
    with pytest.raises(ValueError, match="zip"):
        snapshot([np.zeros((NUM_ENVS, 3), np.float32)] * leaves)


def python_function(observation):
    result = tf.py_function(lambda x: x * 2, [observation], tf.float32)
    return tf.ensure_shape(result, observation.shape)


def determinant(observation):
    return tf.linalg.det(observation[:, :, tf.newaxis] * tf.eye(3) + tf.eye(3))


@pytest.mark.parametrize("policy", [python_function, determinant])
def test_what_does_not_convert_acts_through_tensorflow(policy):
    layer = keras.layers.Dense(3)
    whole = lambda observation: policy(layer(observation))  # noqa: E731
    with pytest.warns(UserWarning, match="not convert to TensorFlow Lite .* tf.function") as record:
        snapshot = PolicySnapshot(whole, tensor_spec(box(3)), NUM_ENVS)
    (warning,) = [entry for entry in record if entry.category is UserWarning]
    assert warning.filename == __file__
    assert "\n" not in str(warning.message)
    assert_equal(snapshot, whole, box(3))
    layer.kernel.assign(-layer.kernel)
    snapshot.update()
    assert_equal(snapshot, whole, box(3))


def test_an_embedding_acts_through_tensorflow():
    embedding, space = keras.layers.Embedding(6, 4), spaces.Discrete(6)
    with pytest.warns(UserWarning, match="not convert"):
        snapshot = PolicySnapshot(embedding, tensor_spec(space), NUM_ENVS)
    assert_equal(snapshot, embedding, space)


def test_wrong_numbers_are_noticed(monkeypatch):
    """Should TensorFlow Lite ever take one input for another."""
    details = tf.lite.Interpreter.get_input_details
    monkeypatch.setattr(tf.lite.Interpreter, "get_input_details", lambda self: details(self)[1::-1])
    space = spaces.Dict(a=box(3), b=box(3))
    policy = lambda observation: observation["a"] - observation["b"]  # noqa: E731
    with pytest.warns(UserWarning, match="computes other numbers"):
        snapshot = PolicySnapshot(policy, tensor_spec(space), NUM_ENVS)
    assert_equal(snapshot, policy, space)


def test_a_policy_that_has_diverged_still_converts():
    """Its numbers are nobody's, but it is for others to notice that."""
    network = dense(box(3))
    network.layers[-1].bias.assign([np.nan, np.inf])
    converted(network, box(3))


def test_an_error_of_the_policy_itself_is_raised():
    with pytest.raises(KeyError, match="position"):
        PolicySnapshot(lambda o: o["position"], tensor_spec(spaces.Dict(a=box(3))), NUM_ENVS)


def test_our_own_layers():
    network = keras.Sequential([keras.Input(3), networks.MLP([8, 8]), keras.layers.Dense(2)])
    assert_equal(converted(network, box(3)), network, box(3))
