"""A recurrent double DQN, as docs/extending.md tells how."""

import keras
import numpy as np
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate
from kerasrl.experience import Sequences
from kerasrl.networks import Target


@keras.saving.register_keras_serializable("tests")
class RecurrentDQN(kerasrl.Agent):
    """Learns from sequences with the state that was stored (Kapturowski et al., 2019)."""

    default_batch_size = 32

    def __init__(self, units=64, length=16, n_step=5, **kwargs):
        super().__init__(n_step=n_step, **kwargs)
        self.units, self.length = units, length
        self.epsilon = self.setting("epsilon", 1.0)

    def build_networks(self):
        self.cell, self.head = keras.layers.LSTMCell(self.units), keras.layers.Dense(2)
        state = [keras.Input((self.units,)) for _ in range(2)]
        observation = keras.Input((None, *self.observation_space.shape))
        hidden = keras.layers.RNN(self.cell, return_sequences=True)(observation, state)
        self.q_network = keras.Model([observation, *state], self.head(hidden))  # [B, T, A]
        self.target_network = Target(self.q_network)

    def experience(self):
        return Sequences(self.length, period=self.length // 2)

    def default_callbacks(self):
        return [
            Collect(env_steps_per_update=2, warmup_steps=1_000),
            TargetUpdate(period=100),
            LinearSchedule("epsilon", 1.0, 0.05, env_steps=10_000),
        ]

    def initial_state(self):
        return (np.zeros(self.units, np.float32),) * 2

    def policy(self, observation, state):
        hidden, state = self.cell(observation, list(state))
        greedy = tf.one_hot(tf.argmax(self.head(hidden), axis=-1), 2)
        return (1 - self.epsilon) * greedy + self.epsilon / 2, tuple(state)

    def call(self, observation, state=None):
        hidden, state = self.cell(observation, list(state))
        return tf.argmax(self.head(hidden), axis=-1), tuple(state)

    def explore(self, output, rng):
        return (rng.random(len(output)) < output[:, 1]).astype(np.int64)

    def train_step(self, batch):
        inputs = [batch["observation"], *batch["state"]]
        q_t, weight = self.target_network(inputs), batch["weight"][:, :-1]
        reward, discount = batch["reward"], self.discount * batch["discount"]
        with tf.GradientTape() as tape:
            q = self.q_network(inputs, training=True)
            v_t = tf.gather(q_t, tf.argmax(q, axis=-1), batch_dims=2)  # [B, T]
            steps = [tf.transpose(x) for x in (reward[:, :-1], discount[:, :-1], v_t[:, 1:])]
            target = kerasrl.losses.n_step_bootstrapped_returns(*steps, self.n_step)
            error = tf.transpose(target) - tf.gather(q, batch["action"], batch_dims=2)[:, :-1]
            loss = tf.reduce_sum(weight * kerasrl.losses.l2(error)) / tf.reduce_sum(weight)
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        self.target_network.update(self.q_network, self.optimizer.iterations)
        return self.track(loss=loss)
