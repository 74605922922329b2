"""What layers add to the loss of the network that has them, against plain Keras."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.compatibility import KERAS_3

RATE = 0.1
OFF_POLICY = ("dqn", "sac", "ddpg", "td3", "d4pg")
ON_POLICY = ("ppo", "a2c", "reinforce")
KINDS = OFF_POLICY + ON_POLICY
L2 = keras.regularizers.L2


@keras.saving.register_keras_serializable("tests")
class Penalty(keras.layers.Layer):
    """Adds the mean of what it is given to the loss."""

    def call(self, inputs):
        self.add_loss(0.3 * tf.reduce_mean(inputs))
        return inputs


@keras.saving.register_keras_serializable("tests")
class Block(keras.layers.Layer):
    """A layer within a layer that has losses."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(8, "tanh", kernel_regularizer=L2(0.1))

    def call(self, inputs):
        return self.dense(inputs)


LAYERS = {
    "none": lambda: keras.layers.Dense(8, "tanh"),
    "kernel": lambda: keras.layers.Dense(8, "tanh", kernel_regularizer=L2(0.1)),
    "activity": lambda: keras.layers.Dense(8, "tanh", activity_regularizer=L2(0.1)),
    "add_loss": lambda: keras.Sequential([keras.layers.Dense(8, "tanh"), Penalty()]),
    "nested": Block,
    "all": lambda: keras.Sequential(
        [
            keras.layers.Dense(8, "tanh", kernel_regularizer=L2(0.1), activity_regularizer=L2(0.1)),
            Penalty(),
        ]
    ),
}


def networks(kind, layer, where):
    """The networks of an agent, by argument; those that `where` names have a layer with losses."""
    keras.utils.set_random_seed(0)

    def hidden(name):
        return LAYERS[layer if name in where else "none"]()

    def network(name, outputs):
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(outputs)(hidden(name)(inputs)))

    def critic(outputs):
        inputs = [keras.Input((4,)), keras.Input((2,))]
        joint = hidden("critic")(keras.layers.Concatenate()(inputs))
        return keras.Model(inputs, keras.layers.Dense(outputs)(joint))

    if kind == "dqn":
        return {"q_network": network("q_network", 2)}
    if kind in ON_POLICY:
        return {"actor": network("actor", 2), "critic": network("critic", 1)}
    return {
        "actor": network("actor", 4 if kind == "sac" else 2),
        "critic": critic(51 if kind == "d4pg" else 1),
    }


def made(kind, tiny_env, layer="none", where=(), compiled=None, **arguments):
    arguments |= {"policy_delay": 1} if kind == "td3" and "policy_delay" not in arguments else {}
    agent = getattr(kerasrl, kind.upper())(**networks(kind, layer, where), **arguments)
    space = gym.spaces.Box(-1, 1, (2,), np.float32) if kind in OFF_POLICY[1:] else None
    agent.build(tiny_env(action_space=space))
    optimizers = {name: keras.optimizers.SGD(RATE) for name in agent.optimized_variables()}
    agent.compile(**optimizers, **(compiled or {"run_eagerly": True}))
    agent.reseed(0)
    return agent


def batch_of(agent, batches, examples):
    if type(agent).__name__.lower() in ON_POLICY:
        return {key: tf.constant(value) for key, value in examples(agent).items()}
    return next(iter(batches(agent)))


def step_of_keras(network, inputs):
    """What plain Keras changes weights by that is trained on nothing but layers' losses."""
    before = network.get_weights()
    network.compile(
        keras.optimizers.SGD(RATE), loss=lambda y, p: 0.0 * tf.reduce_sum(p), run_eagerly=True
    )
    loss = network.train_on_batch(inputs, np.zeros((8, 1), np.float32))
    return [w - b for w, b in zip(network.get_weights(), before, strict=True)], loss


@pytest.mark.regression(2)
@pytest.mark.parametrize(
    ("kind", "layer"),
    [("dqn", name) for name in LAYERS if name not in ("none", "all")]
    + [(kind, "all") for kind in KINDS],
)
@pytest.mark.thorough
def test_they_change_weights_as_in_keras(kind, layer, tiny_env, batches, examples):
    for where in networks(kind, "none", ()):
        plain, agent, other = (
            made(kind, tiny_env, *arguments) for arguments in ((), (layer, where), (layer, where))
        )
        batch = batch_of(agent, batches, examples)
        before = getattr(agent, where).get_weights()
        without = {name: float(value) for name, value in plain.train_step(batch).items()}
        logs = {name: float(value) for name, value in agent.train_step(batch).items()}
        inputs = batch["observation"]
        if where == "critic" and kind in OFF_POLICY:
            inputs = [inputs, batch["action"]]
        # Two critics are one network of Keras's.
        expected, loss = step_of_keras(getattr(other, where), inputs)
        assert abs(loss) > 1e-5
        steps = [
            (w - b) - (p - b)
            for w, p, b in zip(
                getattr(agent, where).get_weights(),
                getattr(plain, where).get_weights(),
                before,
                strict=True,
            )
        ]
        for step, of_keras in zip(steps, expected, strict=True):
            np.testing.assert_allclose(step, of_keras, atol=1e-6)
        np.testing.assert_allclose(logs["regularization_loss"], loss, rtol=1e-5)
        assert "regularization_loss" not in without
        own = f"{where}_loss" if f"{where}_loss" in logs else "loss"
        np.testing.assert_allclose(logs[own] - without[own], loss, rtol=1e-3, atol=1e-5)


@pytest.mark.regression(2)
@pytest.mark.parametrize("kind", ["dqn", "td3"])
@pytest.mark.table
def test_they_are_the_same_in_every_mode(kind, tiny_env, batches):
    where = tuple(networks(kind, "none", ()))
    options = {"double": True} if kind == "dqn" else {}
    options |= {"policy_delay": 2} if kind == "td3" else {}
    histories = [
        made(kind, tiny_env, "activity", where, {mode: True}, **options)
        .fit(batches(made(kind, tiny_env), count=4), verbose=0)
        .history
        for mode in ("run_eagerly", "jit_compile")
    ]
    assert histories[0]["regularization_loss"][0] > 0.01
    for name in histories[0]:
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-4)


@pytest.mark.regression(2)
@pytest.mark.parametrize("kind", ON_POLICY)
def test_a_layer_that_two_networks_share_counts_once(kind, tiny_env, examples):
    inputs = keras.Input((4,))
    torso = keras.layers.Dense(8, kernel_regularizer=L2(0.1), activity_regularizer=L2(0.1))
    actor = keras.Model(inputs, keras.layers.Dense(2)(torso(inputs)))
    critic = keras.Model(inputs, keras.layers.Dense(1)(torso(inputs)))
    options = {"target_kl": 1.0} if kind == "ppo" else {}
    agent = getattr(kerasrl, kind.upper())(actor, critic, **options)
    agent.build(tiny_env())
    agent.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
    batch = batch_of(agent, None, examples)
    features = torso(batch["observation"])
    kernel = torso.kernel.numpy()
    by_hand = 0.1 * np.square(kernel).sum() + 0.1 * np.square(features).sum() / 8
    logs = agent.train_step(batch)
    np.testing.assert_allclose(logs["regularization_loss"], by_hand, rtol=1e-5)


@pytest.mark.regression(2)
def test_a_frozen_layer_counts_and_is_not_changed(tiny_env, batches):
    agent = made("dqn", tiny_env, "kernel", ("q_network",))
    layer = agent.q_network.layers[1]
    layer.trainable = False
    before = layer.get_weights()
    logs = agent.train_step(batch_of(agent, batches, None))
    # Keras 3 counts the regularizers of trained weights alone.
    expected = 0 if KERAS_3 else 0.1 * np.square(before[0]).sum()
    np.testing.assert_allclose(logs["regularization_loss"], expected, rtol=1e-5)
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


@pytest.mark.regression(2)
def test_an_agent_of_the_users_adds_them_by_a_line(tiny_env, batches):
    class Mean(kerasrl.DQN):
        log_names = ("loss", "q_value")

        def train_step(self, batch):
            with tf.GradientTape() as tape:
                q = self.q_network(batch["observation"], training=True)
                loss = tf.reduce_mean(tf.square(q)) + self.layer_loss(self.q_network)
            self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
            return self.track(loss=loss, q_value=tf.reduce_mean(q))

    def stepped(layer):
        agent = Mean(**networks("dqn", layer, ("q_network",)))
        agent.build(tiny_env())
        agent.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
        return float(agent.train_step(batch_of(agent, batches, None))["loss"])

    assert stepped("kernel") > stepped("none") + 0.1
