import numpy as np
import pytest
import tensorflow as tf

from kerasrl.losses import dpg_loss

# trfl dpg_ops_test.py and rlax policy_gradients_test.py, DpgLossTest: a linear actor, whose actions
# are STATE @ kernel, and a linear critic, whose gradient is its kernel for every action.
STATE = np.float32([[0, 1, 0], [1, 1, 2]])
CRITIC = np.float32([[1.5], [-0.5]])


def actor_gradient(clip_norm):
    def gradient(actor, critic):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch((actor, critic))
            action = STATE @ actor
            with tf.GradientTape() as inner:
                inner.watch(action)
                q = action @ critic
            dqda = inner.gradient(q, action)
            loss = dpg_loss(action, dqda, clip_norm)
        return outer.gradient(loss, (actor, critic, dqda))

    return gradient


def test_the_loss_matches_rlax(mode):
    # The norm of dqda, sqrt(2), is clipped to 1.
    action = STATE @ np.ones([3, 2], np.float32)
    loss = mode(lambda a, g: dpg_loss(a, g, 1.0))(action, np.ones([2, 2], np.float32))
    np.testing.assert_allclose(loss, [0.5, 0.5], rtol=1e-6)


def test_the_gradient_of_the_actor_matches_trfl(mode):
    # testDpgGradient: minus the sum over the batch of dq/da * da/dkernel.
    actor = np.float32([[1, -2], [0.5, 3], [2, 0.1]])
    gradient, critic_gradient, dqda_gradient = mode(actor_gradient(None))(
        tf.constant(actor), tf.constant(CRITIC)
    )
    np.testing.assert_allclose(gradient, -STATE.sum(axis=0)[:, np.newaxis] * CRITIC.T, rtol=1e-5)
    # testDpgNoOtherGradients.
    assert critic_gradient is None
    assert dqda_gradient is None


def test_the_gradient_is_clipped_to_its_norm(mode):
    # testDpgGradientNormClipping; the norm of (3, 4) is 5, that of (0.3, 0.4) is 0.5.
    action, dqda = np.zeros([3, 2], np.float32), np.float32([[3, 4], [0.3, 0.4], [0, 0]])

    def gradient(action, dqda):
        with tf.GradientTape() as tape:
            tape.watch(action)
            loss = dpg_loss(action, dqda, 2.0)
        return loss, tape.gradient(loss, action)

    loss, actual = mode(gradient)(tf.constant(action), tf.constant(dqda))
    np.testing.assert_allclose(actual, [[-1.2, -1.6], [-0.3, -0.4], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(loss, [2, 0.125, 0], rtol=1e-6)


def test_a_gradient_that_is_small_beside_the_action_is_not_lost(mode):
    # float32 cannot tell 1 + 1e-9 from 1.
    def gradient(action, dqda):
        with tf.GradientTape() as tape:
            tape.watch(action)
            loss = dpg_loss(action, dqda)
        return tape.gradient(loss, action)

    dqda = np.float32([[1e-9, -2e-9]])
    actual = mode(gradient)(tf.ones([1, 2]), tf.constant(dqda))
    np.testing.assert_allclose(actual, -dqda, rtol=1e-6)


def test_the_loss_matches_numpy(mode):
    action, dqda = np.random.default_rng(0).normal(size=(2, 16, 5)).astype(np.float32)
    np.testing.assert_allclose(mode(dpg_loss)(action, dqda), (dqda**2).sum(axis=-1) / 2, rtol=1e-5)
    norm = np.minimum(np.linalg.norm(dqda, axis=-1), 1.5)
    assert (norm < 1.5).any() and (norm == 1.5).any()
    clipped = mode(lambda a, g: dpg_loss(a, g, 1.5))(action, dqda)
    np.testing.assert_allclose(clipped, norm**2 / 2, rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [0, -10])
def test_a_norm_to_clip_to_must_be_positive(clip_norm):
    # testDpgDqdaClippingError.
    with pytest.raises(ValueError, match=f"positive clip_norm.*received {clip_norm}"):
        dpg_loss(STATE, STATE, clip_norm)


def test_shapes_must_agree(mode):
    with pytest.raises(ValueError, match="dpg_loss needs dqda of the shape of action"):
        mode(dpg_loss)(STATE, STATE[:, :1])
