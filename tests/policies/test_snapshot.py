import warnings

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl import networks
from kerasrl.compatibility import interpreter, raw
from kerasrl.envs.spec import tensor_spec
from kerasrl.errors import NetworkError
from kerasrl.networks.features import observation_features
from kerasrl.policies import PolicySnapshot
from kerasrl.policies.conversion import Conversions
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
@pytest.mark.table
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
            keras.Input((3,)),
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
        [
            keras.Input((3,)),
            keras.layers.Reshape((3, 1)),
            keras.layers.GRU(4),
            keras.layers.Dense(2),
        ]
    )


@pytest.mark.parametrize(
    ("make", "space"),
    [
        (conv, spaces.Box(0, 255, (8, 8, 2), np.uint8)),
        (normalised, box(3)),
        (recurrent, box(3)),
    ],
)
@pytest.mark.table
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
@pytest.mark.table
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


def test_wrong_numbers_are_noticed(monkeypatch):
    """Should TensorFlow Lite ever take one input for another."""
    function = tf.function(tf.identity).get_concrete_function(tf.TensorSpec((1,), tf.float32))
    model = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    kind = type(interpreter(model_content=model))
    details = kind.get_input_details
    monkeypatch.setattr(kind, "get_input_details", lambda self: details(self)[1::-1])
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
    network = keras.Sequential([keras.Input((3,)), networks.MLP([8, 8]), keras.layers.Dense(2)])
    assert_equal(converted(network, box(3)), network, box(3))


class Functions(keras.layers.Layer):
    """Reads weights within functions, branches and loops, by rows and by their shape."""

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 2))
        self.table = self.add_weight(name="table", shape=(5, 2))

    @tf.function
    def project(self, x, kernel):
        return tf.tanh(x @ kernel) + tf.gather(self.table, tf.range(NUM_ENVS) + 1)

    @tf.function  # Keras 3 has AutoGraph convert no layer's call by itself.
    def call(self, x):
        y = self.project(x, raw(self.kernel))  # No argument of a tf.function in Keras 3.
        if tf.reduce_sum(x) > 0:
            y += self.kernel[0]
        else:
            y -= self.table[1]
        for i in tf.range(3):
            y *= tf.gather(self.table, i) + tf.gather_nd(self.table, [[0], [4], [2]])
        rest = tf.cond(y[0, 0] > 0, lambda: tf.gather(self.table, [0, 0, 0]), lambda: 2 * y)
        return y + rest + self.project(2 * x, raw(self.kernel))


def sequential(*layers, shape=(4, 3), dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def self_attention(layer):
    inputs = keras.Input((4, 3))
    both = [inputs, inputs]
    attended = layer(*both) if isinstance(layer, layers.MultiHeadAttention) else layer(both)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(attended)))


layers = keras.layers
TOKENS = spaces.MultiDiscrete([6, 6, 6, 6])
SEQUENCES = box(4, 3)
IMAGES = box(4, 4, 2)


def tokens(*rest):
    return sequential(*rest, shape=(4,), dtype="int64")


CONVERTED = {
    "LSTM": (lambda: sequential(layers.LSTM(3), layers.Dense(2)), SEQUENCES),
    "LSTM, stacked": (
        lambda: sequential(layers.LSTM(3, return_sequences=True), layers.LSTM(2)),
        SEQUENCES,
    ),
    "GRU": (lambda: sequential(layers.GRU(3, reset_after=False)), SEQUENCES),
    "SimpleRNN": (lambda: sequential(layers.SimpleRNN(3)), SEQUENCES),
    "Bidirectional": (lambda: sequential(layers.Bidirectional(layers.LSTM(2))), SEQUENCES),
    "MultiHeadAttention": (lambda: self_attention(layers.MultiHeadAttention(2, 3)), SEQUENCES),
    "AdditiveAttention": (lambda: self_attention(layers.AdditiveAttention()), SEQUENCES),
    "Embedding": (lambda: tokens(layers.Embedding(6, 3), layers.Flatten()), TOKENS),
    "Embedding, masked": (
        lambda: tokens(layers.Embedding(6, 3, mask_zero=True), layers.LSTM(2)),
        TOKENS,
    ),
    "TimeDistributed": (lambda: sequential(layers.TimeDistributed(layers.Dense(2))), SEQUENCES),
    "Conv1D": (lambda: sequential(layers.Conv1D(3, 2)), SEQUENCES),
    "SeparableConv2D": (lambda: sequential(layers.SeparableConv2D(3, 2), shape=(4, 4, 2)), IMAGES),
    "Conv2DTranspose": (lambda: sequential(layers.Conv2DTranspose(3, 2), shape=(4, 4, 2)), IMAGES),
    "EinsumDense": (
        lambda: sequential(layers.EinsumDense("abc,cd->abd", output_shape=(None, 2))),
        SEQUENCES,
    ),
    "functions": (lambda: sequential(Functions(), shape=(3,)), box(3)),
}


def assert_weights_are_those_of_update(snapshot, network, space):
    rng = np.random.default_rng(0)
    leaves = next(batches(space))
    before = snapshot(leaves)
    for weight in network.trainable_weights:
        weight.assign(rng.uniform(-1, 1, weight.shape))
    np.testing.assert_array_equal(snapshot(leaves), before)
    snapshot.update()
    assert_equal(snapshot, network, space)
    assert np.abs(snapshot(leaves) - before).max() > 1e-3


@pytest.mark.regression(20)
@pytest.mark.parametrize("name", CONVERTED)
@pytest.mark.table
def test_models_that_convert(name):
    make, space = CONVERTED[name]
    network = make()
    snapshot = converted(network, space)
    assert_equal(snapshot, network, space)
    assert_weights_are_those_of_update(snapshot, network, space)


@pytest.mark.regression(8)
def test_half_precision_converts_to_float32():
    policy = keras.mixed_precision.Policy("mixed_float16")
    network = sequential(layers.Dense(4, "relu", dtype=policy), layers.Dense(2), shape=(3,))
    snapshot = converted(network, box(3))
    for leaves in batches(box(3)):
        np.testing.assert_allclose(snapshot(leaves), network(leaves[0]), atol=5e-3)


def looking_up():
    lookup = layers.IntegerLookup(vocabulary=[3, 1, 2])
    return tokens(lookup, layers.Embedding(6, 2))


@pytest.mark.regression(3)
@pytest.mark.parametrize(
    ("make", "space", "reason"),
    [
        (looking_up, TOKENS, r"looks something up in a table, in \S*integer_lookup\S* \(Lookup"),
        (lambda: Sequence(python_function), box(3), r"calls Python, in \S*policy\S* \(EagerPyFunc"),
        (lambda: Sequence(determinant), box(3), "MatrixDeterminant"),
        (lambda: Sequence(checked), box(3), r"checks its numbers, in \S*checking\S* \(Assert"),
    ],
    ids=["lookup", "python", "determinant", "assertion"],
)
def test_what_falls_back_acts_with_the_weights_of_update(make, space, reason):
    network = make()
    with pytest.warns(UserWarning, match=f"is slower: .*{reason}"):
        snapshot = PolicySnapshot(network, tensor_spec(space), NUM_ENVS)
    assert_equal(snapshot, network, space)
    assert_weights_are_those_of_update(snapshot, network, space)


def checked(observation):
    tf.debugging.assert_less(observation, 1e6, name="checking")
    return 2 * observation


class Sequence(keras.Model):
    """A dense layer and a function."""

    def __init__(self, function):
        super().__init__(name="policy")
        self.dense, self.function = layers.Dense(3), function
        self.build((None, 3))

    def call(self, observation):
        return self.function(self.dense(observation))


class Counting(keras.layers.Layer):
    """Reads a weight before and after it changes it: 10 * before + after, plus the scale."""

    def __init__(self, function=False):
        super().__init__()
        self.count_up = tf.function(self.count) if function else self.count

    def build(self, input_shape):
        self.number = self.add_weight(name="number", shape=(), initializer="zeros", trainable=False)
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def count(self):
        before = 10 * self.number
        self.number.assign_add(1.0)
        return before + self.number

    def call(self, observation):
        return self.scale * self.count_up() + 0 * observation


def falling_back(policy, space, reason):
    with pytest.warns(UserWarning, match=f"is slower: it {reason}"):
        return PolicySnapshot(policy, tensor_spec(space), NUM_ENVS)


@pytest.mark.regression(3)
@pytest.mark.parametrize("function", [False, True])
def test_a_policy_that_counts(function):
    layer = Counting(function)
    layer.build((None, 3))
    snapshot = falling_back(layer, box(3), r"changes a variable, in \S+ \(Assign")
    leaves = [np.zeros((NUM_ENVS, 3), np.float32)]
    layer.scale.assign(100.0)  # A weight, as it was at the last update; the number is a state.
    assert [snapshot(leaves)[0, 0] for _ in range(3)] == [1, 12, 23]
    snapshot.update()
    assert [snapshot(leaves)[0, 0] for _ in range(2)] == [3400, 4500]
    assert layer.number.numpy() == 5


@pytest.mark.regression(3)
def test_a_stateful_recurrent_layer_remembers():
    make = lambda: keras.Sequential(  # noqa: E731
        [keras.Input((4, 3), batch_size=NUM_ENVS), layers.LSTM(2, stateful=True)]
    )
    network, twin = make(), make()
    twin.set_weights(network.get_weights())
    snapshot = falling_back(network, SEQUENCES, r"changes a variable, in \S*lstm")
    outputs = []
    for leaves in batches(SEQUENCES):
        outputs.append(snapshot(leaves))
        np.testing.assert_allclose(outputs[-1], twin(leaves[0]), atol=1e-6)
        leaves[0][:] = 0
    network.layers[-1].reset_states()
    (leaves,) = batches(SEQUENCES, 1)
    np.testing.assert_allclose(snapshot(leaves), outputs[0], atol=1e-6)


@pytest.mark.regression(3)
def test_a_state_beside_a_loop_that_reads_weights():
    weight, count = tf.Variable(2.0), tf.Variable(0.0, trainable=False)

    def policy(x):
        count.assign_add(1.0)
        for _ in tf.range(2):
            x = x * weight
        return x + count

    snapshot = falling_back(tf.function(policy), box(3), r"changes a variable")
    leaves = [np.ones((NUM_ENVS, 3), np.float32)]
    assert [snapshot(leaves)[0, 0] for _ in range(2)] == [5, 6]
    weight.assign(3.0)
    snapshot.update()
    assert snapshot(leaves)[0, 0] == 12


@pytest.mark.regression(3)
def test_noise_that_drifts():
    """Without new noise it falls from 8 by a quarter at every call."""
    noise = networks.OrnsteinUhlenbeck(stddev=0.0, damping=0.25)
    noise.build((NUM_ENVS, 3))
    snapshot = falling_back(noise, box(3), r"draws random numbers, in \S*random_normal")
    noise.noise.assign(tf.fill((NUM_ENVS, 3), 8.0))
    leaves = [np.ones((NUM_ENVS, 3), np.float32)]
    assert [snapshot(leaves)[0, 0] for _ in range(3)] == [7, 5.5, 4.375]


def drawing_in_a_loop(observation):
    for _ in tf.range(2):
        observation += 1e-5 * tf.random.uniform(observation.shape)
    return observation


def generating():
    generator = tf.random.Generator.from_seed(0)
    return lambda x: x + generator.normal((NUM_ENVS, 3))


class Dropping(keras.layers.Dropout):
    def call(self, inputs):
        return super().call(inputs, training=True)


@pytest.mark.regression(3)
@pytest.mark.parametrize(
    "make",
    [
        lambda: networks.OrnsteinUhlenbeck(),
        lambda: networks.ClippedGaussian(1e-5),  # Less than a conversion may be off.
        lambda: drawing_in_a_loop,
        lambda: Dropping(0.5),
        lambda: tf.function(lambda x: x + tf.random.normal(x.shape)),
        lambda: lambda x: x + tf.cast(tf.random.categorical(x, 3), tf.float32),
        generating,
    ],
)
@pytest.mark.table
def test_random_numbers_are_drawn_at_every_call_and_can_be_repeated(make):
    leaves = [np.full((NUM_ENVS, 3), 0.5, np.float32)]
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        snapshot = falling_back(make(), box(3), "(draws random numbers|changes a variable)")
        runs.append([snapshot(leaves) for _ in range(4)])
    assert len({output.tobytes() for output in runs[0]}) == 4
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.regression(3)
@pytest.mark.parametrize("policy", [lambda x: None, lambda x: (), lambda x: {"a": x, "b": None}])
def test_a_policy_computes_something(policy):
    with pytest.raises(NetworkError, match="must compute a tensor or a nest of tensors; received"):
        PolicySnapshot(policy, tensor_spec(box(3)), NUM_ENVS)


@pytest.mark.parametrize(
    "second", [lambda x: x[0, :2], lambda x: tf.strings.as_string(x), lambda x: tf.complex(x, x)]
)
def test_each_of_several_outputs_is_of_numbers_for_every_environment(second):
    with pytest.raises(NetworkError, match=r"numbers or bools and have the shape \[N, ...\], N=3"):
        PolicySnapshot(lambda x: (x, second(x)), tensor_spec(box(3)), NUM_ENVS)


INTEGERS = np.array([[2**62 + 1, -(2**63)], [2**31 - 1, -1], [2**24 + 1, 0]])


def several(observation):
    """Outputs of every dtype, with values that float32 has not."""
    x = tf.cast(observation, tf.float64)
    return {
        "z": {
            "float64": x,
            "thirds": tf.fill([3, 1], tf.constant(1 / 3, tf.float64)),
            "int64": tf.constant(INTEGERS),
        },
        "a": (observation, tf.cast(observation, tf.float16)),
        "int32": tf.cast(tf.constant(INTEGERS % 2**31), tf.int32),
        "uint8": tf.constant([255, 0, 7], tf.uint8),
        "bool": observation[:, :2] > 0,
        "matrix": tf.reshape(observation, (3, 1, 3)) * [[1.0], [2.0]],
        "uint16": tf.constant([65535, 0, 7], tf.uint16),
    }


def test_several_outputs_come_back_bit_for_bit():
    snapshot = converted(several, box(3))
    for leaves in batches(box(3)):
        expected = tf.nest.map_structure(lambda x: x.numpy(), several(tf.constant(leaves[0])))
        received = snapshot(leaves)
        assert list(received) == list(expected)
        tf.nest.assert_same_structure(received, expected)
        for one, other in zip(tf.nest.flatten(received), tf.nest.flatten(expected), strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)
    assert snapshot.output["z"]["int64"] == tf.TensorSpec((3, 2), tf.int64)
    assert snapshot.output["a"][1] == tf.TensorSpec((3, 3), tf.float16)


def test_several_outputs_of_a_network_that_does_not_convert():
    with pytest.warns(UserWarning, match="not convert to TensorFlow Lite"):
        snapshot = PolicySnapshot(
            lambda x: {"b": determinant(x), "a": tf.constant(INTEGERS)},
            tensor_spec(box(3)),
            NUM_ENVS,
        )
    (leaves,) = batches(box(3), 1)
    received = snapshot(leaves)
    np.testing.assert_array_equal(received["a"], INTEGERS)
    np.testing.assert_allclose(received["b"], determinant(tf.constant(leaves[0])), rtol=1e-5)


def test_a_dict_of_one_output():
    snapshot = converted(lambda x: {"only": 2 * x}, box(3))
    np.testing.assert_array_equal(
        snapshot([np.ones((3, 3), np.float32)])["only"], np.full((3, 3), 2)
    )


class Cell(keras.Model):
    """An LSTM cell and a head: `[N, 3]` and a state to `[N, 2]` and the next state."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = layers.LSTMCell(4), layers.Dense(2)

    def call(self, observation, state):
        (count, *hidden), shift = state[:3], state[3]
        output, hidden = self.cell(observation, hidden)
        return {"q": self.head(output), "count": count}, (count + 1, *hidden, shift)


STATE = (*(tf.TensorSpec((), tf.int64), tf.TensorSpec((4,)), tf.TensorSpec((4,))), tf.TensorSpec(2))


def test_a_recurrent_state_goes_along():
    cell = Cell()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        snapshot = PolicySnapshot(cell, tensor_spec(box(3)), NUM_ENVS, STATE)
    state = [np.arange(3) + 2**40, *np.zeros((2, 3, 4), np.float32), np.ones((3, 2), np.float32)]
    expected = [tf.constant(leaf) for leaf in state]
    for i, leaves in enumerate(batches(box(3), 4)):
        known, expected = cell(tf.constant(leaves[0]), expected)
        output, state = snapshot(leaves, state)
        np.testing.assert_array_equal(output["count"], np.arange(3) + 2**40 + i)
        np.testing.assert_allclose(output["q"], known["q"], rtol=1e-5, atol=1e-6)
        for received, leaf in zip(state, expected, strict=True):
            assert received.dtype == leaf.dtype.as_numpy_dtype
            np.testing.assert_allclose(received, leaf, rtol=1e-5, atol=1e-6)
    assert snapshot.output["q"] == tf.TensorSpec((3, 2), tf.float32)


@pytest.mark.parametrize(
    "policy",
    [lambda x, state: x, lambda x, state: (x, state[:1]), lambda x, state: (x, (x, state[1]))],
)
def test_a_recurrent_policy_hands_on_its_state(policy):
    spec = (tf.TensorSpec(()), tf.TensorSpec(()))
    with pytest.raises(NetworkError, match="must return a pair: what it computes, and the next"):
        PolicySnapshot(policy, tensor_spec(box(3)), NUM_ENVS, spec)


@pytest.mark.parametrize("state", [None, STATE])
def test_weights_go_from_one_snapshot_to_another(state):
    def made():
        network = dense(box(3)) if state is None else Cell()
        return PolicySnapshot(network, tensor_spec(box(3)), NUM_ENVS, state)

    learner, actor = made(), made()
    (leaves,) = batches(box(3), 1)
    inputs = [
        leaves,
        *(
            []
            if state is None
            else [[np.zeros((3, *s.shape), s.dtype.as_numpy_dtype) for s in state]]
        ),
    ]
    first, second = (tf.nest.flatten(each(*inputs)) for each in (learner, actor))
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    version, arrays = learner.weights()
    actor.set_weights(version + 7, arrays)
    second = tf.nest.flatten(actor(*inputs))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert actor.version == actor.weights()[0] == version + 7
    learner.update()
    assert learner.version == version + 1


CACHED = {**CONVERTED, "conv": (conv, spaces.Box(0, 255, (8, 8, 2), np.uint8))}
del CACHED["functions"]  # Whose own functions come out otherwise when they are traced first.


@pytest.mark.parametrize("name", CACHED)
@pytest.mark.thorough
def test_the_same_policy_is_converted_once(name, monkeypatch):
    counts = count_conversions(monkeypatch)
    make, space = CACHED[name]
    network, conversions = make(), Conversions()

    def snapshot(num_envs=NUM_ENVS):
        return PolicySnapshot(network, tensor_spec(space), num_envs, None, conversions)

    first, second = snapshot(), snapshot()
    assert len(counts) == 1
    for weight in network.trainable_weights:
        weight.assign_add(tf.ones_like(weight))
    third = snapshot()
    assert len(counts) == 1
    assert_equal(third, network, space)
    (leaves,) = batches(space, 1)
    # Each has the weights of its own last update.
    np.testing.assert_array_equal(first(leaves), second(leaves))
    assert (first(leaves) != third(leaves)).any()
    snapshot(NUM_ENVS + 1)
    assert len(counts) == 2
    other = make()
    PolicySnapshot(other, tensor_spec(space), NUM_ENVS, None, conversions)
    assert len(counts) == 3


def count_conversions(monkeypatch):
    counts, convert = [], tf.lite.TFLiteConverter.from_concrete_functions
    monkeypatch.setattr(
        tf.lite.TFLiteConverter,
        "from_concrete_functions",
        lambda *arguments: counts.append(1) or convert(*arguments),
    )
    return counts


class Adjustable(keras.Model):
    """A network with a number that is no weight."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale, self.table = layers.Dense(2), 1.0, tf.constant([1.0, 2.0])

    def call(self, observation):
        return self.scale * self.inner(observation) + self.table


@pytest.mark.parametrize(
    "change",
    [
        lambda network: setattr(network, "scale", 2.0),
        lambda network: setattr(network, "table", tf.constant([3.0, 2.0])),
        pytest.param(
            lambda network: setattr(network, "inner", layers.Dense(2)), marks=pytest.mark.keras_2
        ),  # A model of Keras 3 that is built takes no more layers, unless it is an agent.
        lambda network: setattr(network.inner, "activation", tf.tanh),
    ],
    ids=["number", "constant", "layer", "activation"],
)
def test_a_policy_that_has_changed_is_converted_anew(change, monkeypatch):
    counts, conversions, network = count_conversions(monkeypatch), Conversions(), Adjustable()
    for changes in range(2):
        if changes:
            change(network)
        for _ in range(2):
            snapshot = PolicySnapshot(network, tensor_spec(box(3)), NUM_ENVS, None, conversions)
            assert_equal(snapshot, network, box(3))
            assert len(counts) == 1 + changes
