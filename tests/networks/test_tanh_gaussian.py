import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.networks.tanh_gaussian import tanh_gaussian_log_prob, tanh_gaussian_sample

FAR_OUT = [0, 1, 5, 10, 20]


def random_inputs(dtype=np.float32):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(64, 3))
    log_std = rng.uniform(-2, 0, size=(64, 3))
    noise = rng.normal(size=(64, 3))
    return mean.astype(dtype), log_std.astype(dtype), noise.astype(dtype)


def numpy_log_prob(mean, log_std, pre_tanh):
    """In float64, with log(1 - tanh(x)**2) as -2 * log(cosh(x)): another formula than ours."""
    mean, log_std, x = (np.float64(a) for a in (mean, log_std, pre_tanh))
    normal = -0.5 * ((x - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    log_slope = -2 * (np.logaddexp(x, -x) - np.log(2))
    return (normal - log_slope).sum(axis=-1)


def tfp_distribution(mean, log_std):
    return tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(mean, tf.exp(log_std)), tfp.bijectors.Tanh()
    )


def test_log_prob_matches_rlax(mode):
    # distributions_test.py, SquashedGaussianTest. rlax squashes its parameters, tanh(mu) and
    # exp(sigma_min + 0.5 * (sigma_max - sigma_min) * (tanh(sigma) + 1)) with bounds 0 and 2, and
    # stretches the action from (-1, 1) to (-1, 2), which divides the density by 1.5 per dimension.
    mean = np.tanh([[1.0, -1.0], [0.1, -0.1]])
    log_std = np.tanh([[0.1, 0.1], [0.2, 0.3]]) + 1
    action = (np.array([[0.5, -0.6], [-0.4, -0.2]]) + 1) / 1.5 - 1
    log_prob = mode(tanh_gaussian_log_prob)(mean, log_std, np.arctanh(action))
    np.testing.assert_allclose(log_prob - 2 * np.log(1.5), [-4.110274, -4.480485], atol=1e-5)


def test_log_prob_matches_tensorflow_probability(mode):
    mean, log_std, noise = random_inputs(np.float64)
    pre_tanh = mean + np.exp(log_std) * noise
    np.testing.assert_allclose(
        mode(tanh_gaussian_log_prob)(mean, log_std, pre_tanh),
        tfp_distribution(mean, log_std).log_prob(np.tanh(pre_tanh)),
        rtol=1e-6,
    )


def test_sample_matches_tensorflow_probability(mode):
    mean, log_std, noise = random_inputs(np.float64)
    action, log_prob = mode(tanh_gaussian_sample)(mean, log_std, noise)
    distribution = tfp_distribution(mean, log_std)
    np.testing.assert_allclose(action, distribution.bijector(mean + np.exp(log_std) * noise))
    np.testing.assert_allclose(log_prob, distribution.log_prob(action), rtol=1e-6)


def test_sample_and_log_prob_match_numpy(mode):
    mean, log_std, noise = random_inputs()
    pre_tanh = mean + np.exp(log_std) * noise
    action, log_prob = mode(tanh_gaussian_sample)(mean, log_std, noise)
    expected = numpy_log_prob(mean, log_std, pre_tanh)
    assert action.shape == (64, 3) and log_prob.shape == (64,)
    np.testing.assert_allclose(action, np.tanh(pre_tanh), rtol=1e-5)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
    log_prob = mode(tanh_gaussian_log_prob)(mean, log_std, pre_tanh)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_prob_is_exact_far_out(mode, dtype, sign):
    x = sign * np.array(FAR_OUT, dtype)[:, np.newaxis]
    zero = np.zeros_like(x)
    exact = 1e-6 if dtype == np.float32 else 1e-14
    # With the mean at x the Gaussian adds nothing but a constant to log(1 - tanh(x)**2).
    log_prob = mode(tanh_gaussian_log_prob)(x, zero, x)
    np.testing.assert_allclose(log_prob, numpy_log_prob(x, zero, x), rtol=exact, atol=exact)
    log_prob = mode(tanh_gaussian_log_prob)(zero, zero, x)
    np.testing.assert_allclose(log_prob, numpy_log_prob(zero, zero, x), rtol=exact, atol=exact)
    _, log_prob = mode(tanh_gaussian_sample)(zero, zero, x)
    np.testing.assert_allclose(log_prob, numpy_log_prob(zero, zero, x), rtol=exact, atol=exact)


def test_gradients_are_finite_and_right_far_out(mode):
    noise = np.float32([[s * x] for x in FAR_OUT for s in (1, -1)])
    zero = np.zeros_like(noise)

    def sample_gradients(mean, log_std, noise):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((mean, log_std))
            action, log_prob = tanh_gaussian_sample(mean, log_std, noise)
        return tape.gradient(log_prob, (mean, log_std)), tape.gradient(action, (mean, log_std))

    of_log_prob, of_action = mode(sample_gradients)(*map(tf.constant, (zero, zero, noise)))
    # The noise is fixed, so the Gaussian's part is -log_std and the rest 2 * log(cosh(x)).
    x = np.float64(noise)
    np.testing.assert_allclose(of_log_prob[0], 2 * np.tanh(x), rtol=1e-6)
    np.testing.assert_allclose(of_log_prob[1], 2 * np.tanh(x) * x - 1, rtol=1e-6)
    np.testing.assert_allclose(of_action[0], 1 - np.tanh(x) ** 2, atol=1e-6)
    np.testing.assert_allclose(of_action[1], (1 - np.tanh(x) ** 2) * x, atol=1e-6)


def test_log_prob_gradients_match_finite_differences(mode):
    inputs = random_inputs(np.float64)

    def log_prob_gradients(*args):
        with tf.GradientTape() as tape:
            tape.watch(args)
            y = tanh_gaussian_log_prob(*args)
        return tape.gradient(y, args)

    for i, gradient in enumerate(mode(log_prob_gradients)(*map(tf.constant, inputs))):
        up, down = list(inputs), list(inputs)
        step = 1e-6 * np.eye(3)[0]  # the first action dimension only
        up[i], down[i] = inputs[i] + step, inputs[i] - step
        expected = (numpy_log_prob(*up) - numpy_log_prob(*down)) / 2e-6
        np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_deviation_below_rounding_does_not_lose_the_noise(mode):
    # float32 cannot tell 1 + 1e-9 * noise from 1.
    noise = np.float32([[0.0], [1.0], [3.0]])
    log_std = np.full_like(noise, np.log(1e-9))
    _, log_prob = mode(tanh_gaussian_sample)(np.ones_like(noise), log_std, noise)
    np.testing.assert_allclose(log_prob[0] - log_prob, [0, 0.5, 4.5], rtol=1e-5)


def test_the_density_integrates_to_one(mode):
    action = np.linspace(-1, 1, 100_001)[1:-1, np.newaxis]
    mean, log_std = np.full_like(action, 0.4), np.full_like(action, np.log(0.5))
    density = np.exp(mode(tanh_gaussian_log_prob)(mean, log_std, np.arctanh(action)))
    np.testing.assert_allclose(tfp.math.trapz(density, action[:, 0]), 1, atol=1e-4)


def test_action_dimensions_are_independent(mode):
    mean, log_std, noise = random_inputs()
    _, together = mode(tanh_gaussian_sample)(mean, log_std, noise)
    apart = [
        mode(tanh_gaussian_sample)(mean[:, [i]], log_std[:, [i]], noise[:, [i]])[1]
        for i in range(3)
    ]
    np.testing.assert_allclose(together, sum(apart), rtol=1e-5, atol=1e-5)
