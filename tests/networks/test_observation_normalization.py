import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.networks import ObservationNormalization, clone


def random_batch(size=64, offset=0.0, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(offset, scale, (size, 3)).astype(np.float32)


def random_nest(size=64, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "b": (rng.normal(5, 3, (size, 2, 2)).astype(np.float32), rng.integers(9, size=(size, 4))),
        "a": rng.normal(-7, 0.5, size),
        "image": rng.integers(255, size=(size, 2, 2, 1)).astype(np.uint8),
    }


def normalised(x, data, clip=10.0):
    return np.clip((x - data.mean(axis=0)) / data.std(axis=0), -clip, clip)


def test_it_starts_as_the_identity_but_for_clipping(mode):
    layer = ObservationNormalization()
    x = np.float32([[-12, 0.1, 9.9]])
    np.testing.assert_array_equal(mode(layer)(x), np.float32([[-10, 0.1, 9.9]]))
    assert layer.count.numpy() == 0
    assert not layer.trainable_weights


def test_values_by_hand(mode):
    # Means of 2 and 10, variances of 1 and 4, without epsilon.
    layer = ObservationNormalization(clip=3.0, epsilon=0.0)
    layer.adapt(np.float32([[1, 8], [3, 12]]))
    np.testing.assert_array_equal(layer.means[0], [2, 10])
    np.testing.assert_array_equal(layer.variances[0], [1, 4])
    assert layer.count.numpy() == 2
    out = mode(layer)(np.float32([[2, 11], [4.5, -90]]))
    np.testing.assert_allclose(out, [[0, 0.5], [2.5, -3]])


def test_the_first_batch_replaces_the_identity():
    layer = ObservationNormalization()
    layer.adapt(np.float32([[5, -3]]))
    np.testing.assert_array_equal(layer.means[0], [5, -3])
    np.testing.assert_array_equal(layer.variances[0], [0, 0])


@pytest.mark.parametrize(
    ("offset", "scale", "rtol"), [(0, 1, 1e-5), (-3, 50, 1e-5), (1e4, 1, 1e-4), (1e4, 0.05, 1e-2)]
)
@pytest.mark.parametrize(
    "sizes",
    [(1000,), (1, 1, 998), (10,) * 100, (900, 1, 99)],
    ids=["one", "small first", "many", "large first"],
)
@pytest.mark.table
def test_statistics_are_those_of_all_batches_together(offset, scale, rtol, sizes):
    data = random_batch(1000, offset, scale)
    layer = ObservationNormalization()
    for batch in np.split(data, np.cumsum(sizes)[:-1]):
        layer.adapt(batch)
    exact = data.astype(np.float64)
    assert layer.count.numpy() == 1000
    np.testing.assert_allclose(layer.means[0], exact.mean(axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(layer.variances[0], exact.var(axis=0), rtol=rtol)


@pytest.mark.parametrize("scale", [1, 0.05])
def test_a_batch_far_from_zero_loses_nothing(scale):
    data = random_batch(10_000, 1e4, scale)
    layer = ObservationNormalization()
    layer.adapt(data)
    exact = data.astype(np.float64)
    np.testing.assert_allclose(layer.means[0], exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(layer.variances[0], exact.var(axis=0), rtol=1e-6)


def mean_of(layer):
    # The remainders come after the statistics and the count.
    remainders = layer.get_weights()[3:4] or [np.zeros(1)]
    return layer.means[0].numpy().astype(np.float64) + remainders[0]


@pytest.mark.regression(31)
@pytest.mark.parametrize("mean", [100.0, 1e4])
@pytest.mark.table
def test_ten_million_observations_do_not_stop_the_statistics(mean):
    rng, layer = np.random.default_rng(0), ObservationNormalization()
    count, total, squares = 0, 0.0, 0.0

    def adapt(batch):
        nonlocal count, total, squares
        layer.adapt(batch)
        centred = batch.astype(np.float64) - mean
        count, total = count + len(batch), total + centred.sum()
        squares += np.square(centred).sum()

    for _ in range(10):
        adapt(rng.normal(mean, 1, (1_000_000, 1)).astype(np.float32))
    for _ in range(200):
        adapt(np.full((1, 1), mean + 1, np.float32))
    adapt(rng.normal(mean + 1, 1, (20_000, 1)).astype(np.float32))
    assert layer.count.numpy() == count == 10_020_200
    np.testing.assert_allclose(mean_of(layer), mean + total / count, rtol=0, atol=1e-6)
    variance = squares / count - (total / count) ** 2
    np.testing.assert_allclose(layer.variances[0], variance, rtol=1e-6)


@pytest.mark.regression(31)
def test_a_million_observations_and_one_at_a_time_after_them():
    layer = ObservationNormalization()
    layer.adapt(np.tile(np.float32([[99], [101]]), (500_000, 1)))
    for _ in range(300):
        layer.adapt(np.float32([[101]]))
    np.testing.assert_allclose(mean_of(layer), 100 + 300 / 1_000_300, rtol=0, atol=1e-6)


@pytest.mark.regression(31)
def test_observations_far_from_zero_are_normalised_as_well_as_others(mode, lite):
    data = random_batch(10_000, 1e4, 1)
    layer = ObservationNormalization()
    for batch in np.split(data, 4):
        layer.adapt(batch)
    exact = data.astype(np.float64)
    expected = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    np.testing.assert_allclose(mode(layer)(data), expected, atol=2e-6)
    snapshot = lite(layer, gym.spaces.Box(-1e5, 1e5, (3,)), 4)
    np.testing.assert_allclose(snapshot([data[:4]]), expected[:4], atol=2e-6)


@pytest.mark.regression(31)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_other_precisions_lose_nothing_before_the_mean_is_taken_away(policy):
    data = random_batch(1000, 5000, 1)
    layer = ObservationNormalization(dtype=policy)
    layer(data)
    layer.adapt(data)
    out = layer(data)
    assert out.dtype == layer.compute_dtype
    assert layer.means[0].dtype == tf.float32
    expected = normalised(data.astype(np.float64), data.astype(np.float64))
    error = {"mixed_float16": 2e-3, "mixed_bfloat16": 2e-2, "float64": 1e-5}[policy]
    np.testing.assert_allclose(tf.cast(out, tf.float64), expected, atol=error)


def test_batches_of_other_distributions_count_by_their_size():
    batches = [random_batch(10, 100, 1), random_batch(700, -20, 5), random_batch(90, 3, 0.1)]
    layer = ObservationNormalization()
    for batch in batches:
        layer.adapt(batch)
    data = np.concatenate(batches).astype(np.float64)
    np.testing.assert_allclose(layer.means[0], data.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.variances[0], data.var(axis=0), rtol=1e-5)


def test_what_comes_out_has_mean_zero_and_variance_one(mode):
    data = random_batch(1000, 50, 7)
    layer = ObservationNormalization()
    layer.adapt(data)
    out = mode(layer)(data)
    np.testing.assert_allclose(np.mean(out, axis=0), np.zeros(3), atol=1e-4)
    np.testing.assert_allclose(np.std(out, axis=0), np.ones(3), rtol=1e-4)


def test_an_element_that_never_changes_becomes_zero(mode):
    layer = ObservationNormalization()
    constant = np.full((1000, 2), np.float32([0.1, 1234.567]))
    for batch in np.split(constant, 10):
        layer.adapt(batch)
    np.testing.assert_array_equal(mode(layer)(constant), np.zeros((1000, 2)))


def test_calling_never_changes_the_statistics(mode):
    layer = ObservationNormalization()
    layer.adapt(random_batch())
    before = layer.get_weights()
    function = mode(lambda x: layer(x, training=True))
    function(random_batch(offset=9))
    function(random_batch(offset=9))
    for one, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_adapting_retraces_nothing():
    layer = ObservationNormalization()
    traces = []

    @tf.function
    def function(x):
        traces.append(1)
        return layer(x)

    x = random_batch()
    layer(x)
    function(x)
    layer.adapt(x)
    np.testing.assert_allclose(function(x), normalised(x, x), rtol=1e-4, atol=1e-5)
    assert len(traces) == 1


def test_nests_keep_their_structure_and_their_integers(mode):
    layer = ObservationNormalization(clip=2.0)
    layer.adapt(random_nest(seed=0))
    data, x = random_nest(seed=0), random_nest(size=5, seed=1)
    out = mode(layer)(tf.nest.map_structure(tf.constant, x))
    tf.nest.assert_same_structure(out, x)
    for received, leaf in ((out["b"][1], x["b"][1]), (out["image"], x["image"])):
        assert received.dtype == leaf.dtype
        np.testing.assert_array_equal(received, leaf)
    assert out["a"].dtype == out["b"][0].dtype == tf.float32
    np.testing.assert_allclose(out["a"], normalised(x["a"], data["a"], 2), rtol=1e-4, atol=1e-4)
    expected = normalised(x["b"][0], data["b"][0], 2)
    np.testing.assert_allclose(out["b"][0], expected, rtol=1e-4, atol=1e-4)
    assert [mean.shape for mean in layer.means] == [(), (2, 2), (4,), (2, 2, 1)]
    np.testing.assert_array_equal(layer.means[2], np.zeros(4))
    np.testing.assert_array_equal(layer.variances[3], np.ones((2, 2, 1)))


def inputs_of(nest):
    return tf.nest.map_structure(lambda leaf: keras.Input(leaf.shape[1:], dtype=leaf.dtype), nest)


NESTS = {
    "Box": random_batch(),
    "Dict": random_nest(),
    "Tuple": (random_batch(), random_nest()["image"], random_batch(seed=1)),
    "Tuple of one": (random_batch(),),
    "scalar": random_nest()["a"].astype(np.float32),
}


@pytest.mark.parametrize("name", NESTS)
def test_it_is_saved_and_loaded(name, reloaded):
    nest, inputs = NESTS[name], inputs_of(NESTS[name])
    layer = ObservationNormalization(clip=1.5, epsilon=0.1, name="normalization")
    model = keras.Model(inputs, layer(inputs))
    layer.adapt(nest)
    loaded = reloaded(model)
    copy = loaded.get_layer("normalization")
    assert copy.get_config() == layer.get_config()
    assert copy.count.numpy() == 64
    for one, other in zip(copy.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(tf.nest.flatten(loaded(nest)), tf.nest.flatten(model(nest)), strict=True):
        np.testing.assert_array_equal(one, other)
    copy.adapt(nest)
    assert copy.count.numpy() == 128


@pytest.mark.parametrize("name", NESTS)
def test_its_config_makes_a_layer_that_is_built(name):
    layer = ObservationNormalization()
    layer(NESTS[name])
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "kerasrl>ObservationNormalization"
    copy = keras.saving.deserialize_keras_object(config)
    assert [w.shape for w in copy.weights] == [w.shape for w in layer.weights]
    copy.adapt(NESTS[name])


def test_a_clone_has_its_statistics():
    model = keras.Sequential([keras.Input((3,)), ObservationNormalization(), keras.layers.Dense(2)])
    model.layers[0].adapt(random_batch(offset=5))
    copy = clone(model)
    np.testing.assert_array_equal(copy(random_batch()), model(random_batch()))
    assert copy.layers[0].count.numpy() == 64


def test_adapting_before_the_first_call_builds_it(mode):
    early, late = ObservationNormalization(), ObservationNormalization()
    late(random_nest(seed=1))
    for layer in (early, late):
        layer.adapt(random_nest())
    for one, other in zip(early.weights, late.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    out = mode(early)(tf.nest.map_structure(tf.constant, random_nest(seed=1)))
    np.testing.assert_allclose(out["a"], late(random_nest(seed=1))["a"], rtol=1e-5, atol=1e-6)
    assert len(early.weights) == 17  # Two of each statistic of four leaves, and the count.


def test_replicas_share_the_statistics():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    data = random_batch(offset=5)
    with strategy.scope():
        layer = ObservationNormalization()
        layer(data)
        layer.adapt(data[:10])
    layer.adapt(data[10:])
    np.testing.assert_allclose(layer.means[0].numpy(), data.mean(axis=0), rtol=1e-5)
    out = strategy.run(tf.function(layer), (tf.constant(data),))
    (out,) = strategy.experimental_local_results(out)
    np.testing.assert_allclose(out, normalised(data, data), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_replicas_are_adapted_alike(run_python):
    run_python(
        """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from kerasrl.networks import ObservationNormalization

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = ObservationNormalization()
    layer(np.zeros((1, 2), np.float32))
for batch in ([[1, 8]], [[3, 12]]):
    layer.adapt(np.float32(batch))
out = strategy.run(tf.function(layer), (tf.constant([[4.0, 8.0]]),))
first, second = strategy.experimental_local_results(out)
np.testing.assert_allclose(first, [[2, -1]])
np.testing.assert_allclose(second, [[2, -1]])
"""
    )


def test_it_converts_to_lite(lite):
    space = gym.spaces.Dict(
        b=gym.spaces.Box(-9, 9, (3,)), a=gym.spaces.Discrete(5), c=gym.spaces.Box(-9, 9, (2, 2))
    )
    layer = ObservationNormalization(clip=1.5)
    flatten = keras.layers.Flatten()

    def policy(observation):
        out = layer(observation)
        integer = tf.cast(out["a"], tf.float32)[:, tf.newaxis]
        return tf.concat([integer, flatten(out["b"]), flatten(out["c"])], axis=-1)

    rng = np.random.default_rng(0)
    leaves = [
        rng.integers(5, size=4),
        rng.normal(5, 3, (4, 3)).astype(np.float32),
        rng.normal(-5, 1, (4, 2, 2)).astype(np.float32),
    ]
    nest = dict(zip("abc", leaves, strict=True))
    snapshot = lite(policy, space, 4)
    np.testing.assert_allclose(snapshot(leaves)[:, 1:4], np.clip(leaves[1], -1.5, 1.5), rtol=1e-5)
    layer.adapt(nest)
    snapshot.update()
    np.testing.assert_allclose(snapshot(leaves), policy(nest), rtol=1e-4, atol=1e-5)


def test_other_shapes_are_refused(mode):
    layer = ObservationNormalization(name="seen")
    layer.adapt(random_batch())
    message = r"seen was built for leaves of the shapes \(3,\), .*received \({},?.*\)"
    for shape in ((4, 1), (4, 2), (4, 3, 3)):
        with pytest.raises(ValueError, match=message.format(shape[1])):
            mode(layer)(np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match=message.format(shape[1])):
            layer.adapt(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"received \(3,\), \(3,\)\. Make a layer"):
        layer.adapt((random_batch(), random_batch()))
    assert layer.count.numpy() == 64


@pytest.mark.parametrize(("sizes", "received"), [((0, 0), "[0, 0]"), ((3, 2), "[3, 2]")])
def test_leaves_that_hold_no_batch_are_refused(sizes, received):
    layer = ObservationNormalization()
    one, other = (np.zeros((size, 2), np.float32) for size in sizes)
    with pytest.raises(ValueError, match="same number of observations in every leaf") as error:
        layer.adapt((one, other))
    assert received in str(error.value)


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match=r"whose shapes are known; received \(None, 3\)"):
        ObservationNormalization()(keras.Input((None, 3)))
