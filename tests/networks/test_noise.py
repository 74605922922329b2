import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.networks import ClippedGaussian, OrnsteinUhlenbeck


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_gaussian_noise_has_its_deviation_around_the_input(mode):
    layer = ClippedGaussian(0.3, minimum=-9, maximum=9)
    x = np.tile(np.float32([-5, 0, 2]), (50_000, 1))
    noise = np.asarray(mode(layer)(x)) - x
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.mean(axis=0), np.zeros(3), atol=0.006)
    np.testing.assert_allclose(noise.std(axis=0), [0.3] * 3, rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(3), atol=0.02)


def test_gaussian_noise_is_clipped(mode):
    layer = ClippedGaussian(0.5)
    out = mode(layer)(np.zeros((20_000, 2), np.float32))
    assert np.min(out) == -1 and np.max(out) == 1
    # The part of a normal distribution that is more than 2 standard deviations above its mean.
    np.testing.assert_allclose(np.mean(out == np.float32(1)), 0.0228, atol=0.004)


def test_gaussian_noise_is_another_one_at_every_call(mode):
    function = mode(ClippedGaussian(0.5))
    x = np.zeros((4, 2), np.float32)
    assert (np.asarray(function(x)) != np.asarray(function(x))).any()


def test_gaussian_noise_is_drawn_in_training_or_not():
    layer = ClippedGaussian(0.5)
    model = keras.Sequential([keras.Input((3,)), layer])
    x = np.zeros((4, 3), np.float32)
    for training in (False, True):
        assert (model(x, training=training) != x).numpy().all()


def test_gaussian_noise_keeps_the_shape(mode):
    assert mode(ClippedGaussian(0.5))(np.zeros((4, 3, 2), np.float32)).shape == (4, 3, 2)


def test_no_deviation_is_no_noise(mode):
    x = np.float32([[-3, 0.5, 3]])
    np.testing.assert_array_equal(mode(ClippedGaussian(0.0, -2, 1))(x), [[-2, 0.5, 1]])


def drift(layer, calls, shape):
    """The noise of many calls, [calls, *shape]."""
    layer(tf.zeros(shape))

    @tf.function
    def run():
        return tf.map_fn(lambda _: layer(tf.zeros(shape)), tf.zeros(calls), parallel_iterations=1)

    return run().numpy()


@pytest.mark.parametrize(
    ("stddev", "damping", "dt"), [(0.2, 0.15, 1.0), (0.3, 1.0, 0.5), (0.5, 0.2, 0.1)]
)
def test_the_stationary_variance_and_autocorrelation(stddev, damping, dt):
    layer = OrnsteinUhlenbeck(stddev, damping, dt)
    noise = drift(layer, 1000, (400, 2))[400:]
    kept = 1 - damping * dt
    variance = stddev**2 * dt / (1 - kept**2)
    np.testing.assert_allclose(noise.mean(), 0, atol=0.05 * variance**0.5)
    np.testing.assert_allclose(noise.var(), variance, rtol=0.03)
    for lag in (1, 4, 10):
        correlation = np.mean(noise[:-lag] * noise[lag:]) / noise.var()
        np.testing.assert_allclose(correlation, kept**lag, atol=0.03)


def test_elements_drift_on_their_own():
    noise = drift(OrnsteinUhlenbeck(damping=0.5), 4000, (2, 2)).reshape(4000, 4)
    np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(4), atol=0.1)


def test_a_process_without_noise_by_hand(mode):
    layer = OrnsteinUhlenbeck(stddev=0.0, damping=0.5, dt=0.5)
    x = np.float32([[1, 2]])
    layer(x)
    layer.noise.assign([[8, -4]])
    function = mode(layer)
    np.testing.assert_allclose(function(x), [[7, -1]])  # 0.75 times the noise
    np.testing.assert_allclose(function(x), [[5.5, -0.25]])
    np.testing.assert_allclose(layer.noise, [[4.5, -2.25]])


def test_the_noise_moves_at_every_call_and_adds_to_the_input(mode):
    layer = OrnsteinUhlenbeck()
    x = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    layer(x)
    function = mode(layer)
    for _ in range(2):
        before = layer.noise.numpy()
        np.testing.assert_allclose(function(x), x + layer.noise, rtol=1e-6)
        assert (layer.noise.numpy() != before).all()


def test_states_are_reset():
    model = keras.Sequential([keras.Input((2,), batch_size=3), OrnsteinUhlenbeck()])
    model(np.zeros((3, 2), np.float32))
    layer = model.layers[0]
    assert not layer.trainable_weights
    assert layer.noise.numpy().all()
    layer.reset_states()
    np.testing.assert_array_equal(layer.noise, np.zeros((3, 2)))
    model(np.zeros((3, 2), np.float32))
    if hasattr(model, "reset_states"):  # Keras 3 leaves it to layers.
        model.reset_states()
    else:
        layer.reset_states()
    np.testing.assert_array_equal(layer.noise, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "layer", [ClippedGaussian(0.3, -2.0, 0.5), OrnsteinUhlenbeck(0.3, 0.2, 0.5)]
)
def test_they_are_saved_and_loaded(layer, reloaded):
    model = keras.Sequential([keras.Input((2,), batch_size=3), layer])
    model(np.zeros((3, 2), np.float32))
    (loaded,) = reloaded(model).layers
    assert type(loaded) is type(layer)
    assert loaded.get_config() == layer.get_config()
    for one, other in zip(loaded.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClippedGaussian(-0.1), "ClippedGaussian needs stddev >= 0; received -0.1"),
        (lambda: ClippedGaussian(0.1, 1, -1), "minimum <= maximum; received 1 and -1"),
        (lambda: OrnsteinUhlenbeck(-0.1), "OrnsteinUhlenbeck needs stddev >= 0"),
        (lambda: OrnsteinUhlenbeck(damping=2.0), r"damping \* dt in \[0, 1\].*damping=2.0"),
        (lambda: OrnsteinUhlenbeck(damping=-0.1), "received damping=-0.1"),
        (lambda: OrnsteinUhlenbeck(dt=0.0), "received damping=0.15 and dt=0.0"),
        (lambda: OrnsteinUhlenbeck()(keras.Input((2,))), r"received \(None, 2\).*batch_size"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
