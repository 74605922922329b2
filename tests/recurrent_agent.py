"""A small agent with a memory, as tests of acting, exporting and collecting need one."""

import keras
import numpy as np
import tensorflow as tf

import kerasrl
from kerasrl import experience

UNITS = 4


@keras.saving.register_keras_serializable("tests")
class RecurrentAgent(kerasrl.Agent):
    """Learns values of actions over sequences; its state begins at 0.5 and -0.5."""

    log_names = ("loss",)
    default_batch_size = 4

    def build_networks(self):
        self.cell = keras.layers.LSTMCell(UNITS)
        self.head = keras.layers.Dense(int(self.action_space.n))
        self.policy(tf.zeros((1, *self.observation_space.shape)), self.begin(1))

    def initial_state(self):
        return np.full(UNITS, 0.5, np.float32), np.full(UNITS, -0.5, np.float32)

    def begin(self, count):
        return tuple(tf.repeat(leaf[tf.newaxis], count, axis=0) for leaf in self.initial_state())

    def policy(self, observation, state):
        hidden, following = self.cell(observation, state)
        q = self.head(hidden)
        return {"q": q, "best": tf.argmax(q, axis=-1)}, tuple(following)

    def call(self, observation, state=None):  # Keras asks for a default.
        output, following = self.policy(observation, state)
        return output["best"], following

    def explore(self, output, rng):
        random = rng.integers(output["q"].shape[1], size=len(output["best"]))
        return np.where(rng.random(len(random)) < 0.2, random, output["best"])

    def experience(self):
        return experience.Sequences(length=6, period=3)

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            state, values = batch["state"], []
            for t in range(batch["observation"].shape[1]):
                output, state = self.policy(batch["observation"][:, t], state)
                values.append(output["q"])
            q = tf.stack(values, axis=1)
            chosen = tf.gather(q[:, :-1], batch["action"][:, :-1], batch_dims=2)
            best = tf.reduce_max(tf.stop_gradient(q[:, 1:]), axis=-1)
            target = batch["reward"][:, :-1] + self.discount * batch["discount"][:, :-1] * best
            loss = tf.reduce_mean(batch["weight"][:, :-1] * (target - chosen) ** 2)
        self.minimize(loss, tape, self.trainable_variables, self.optimizer)
        return self.track(loss=loss)
