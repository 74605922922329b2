"""Prioritised double DQN, as docs/extending.md tells how."""

import keras
import numpy as np
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate
from kerasrl.networks import MLP, Target, observation_features
from kerasrl.replay import Prioritized


@keras.saving.register_keras_serializable("tests")
class PrioritizedDQN(kerasrl.Agent):
    """Schaul et al., "Prioritized experience replay", 2016: proportional, with weights."""

    default_batch_size = 64
    log_names = ("loss", "td_error")

    def __init__(self, units=(128, 128), epsilon=1.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.epsilon = self.setting("epsilon", epsilon)

    def build_networks(self):
        inputs, features = observation_features(self.observation_space)
        q = keras.layers.Dense(int(self.action_space.n))(MLP(self.units)(features))
        self.q_network = keras.Model(inputs, q)
        self.target_network = Target(self.q_network)

    def default_replay(self):
        return Prioritized(20_000)

    def default_callbacks(self):
        return [
            Collect(env_steps_per_update=2, warmup_steps=500),
            TargetUpdate(period=100),
            LinearSchedule("epsilon", 1.0, 0.05, env_steps=5_000),
        ]

    def policy(self, observation):
        q = self.q_network(observation)
        greedy = tf.one_hot(tf.argmax(q, axis=-1), q.shape[-1])
        return (1 - self.epsilon) * greedy + self.epsilon / q.shape[-1]

    def call(self, observation):
        return tf.argmax(self.q_network(observation), axis=-1)

    def explore(self, output, rng):
        below = rng.random((len(output), 1)) < np.cumsum(output, axis=-1)
        return below.argmax(axis=-1)

    def train_step(self, batch):
        best = tf.argmax(self.q_network(batch["next_observation"]), axis=-1)
        q_t = self.target_network(batch["next_observation"])
        q_t = tf.gather(q_t, best, batch_dims=1)
        discount = self.discount * batch["discount"]
        target = kerasrl.losses.td_target(batch["reward"], discount, q_t)
        with tf.GradientTape() as tape:
            q = self.q_network(batch["observation"], training=True)
            error = target - tf.gather(q, batch["action"], batch_dims=1)
            loss = self.mean(batch, kerasrl.losses.huber(error))
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        self.prioritize(batch, tf.abs(error))
        self.target_network.update(self.q_network, self.optimizer.iterations)
        return self.track(loss=loss, td_error=tf.reduce_mean(tf.abs(error)))
