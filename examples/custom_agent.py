"""A new agent: expected SARSA with a softmax policy, for Discrete actions."""

import keras
import numpy as np
import tensorflow as tf
from common import Story

import kerasrl
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.networks import Target


@keras.saving.register_keras_serializable("examples")
class ExpectedSarsa(kerasrl.Agent):
    """Values of the softmax policy that it acts with (van Seijen et al., 2009)."""

    log_names = ("loss", "q_value")

    def build_networks(self):
        layers = [keras.layers.Dense(128, "relu"), keras.layers.Dense(128, "relu")]
        self.q_network = keras.Sequential([*layers, keras.layers.Dense(int(self.action_space.n))])
        self.q_network.build((None, *self.observation_space.shape))
        self.target_network = Target(self.q_network)

    def default_callbacks(self):
        return [Collect(env_steps_per_update=2, warmup_steps=500), TargetUpdate(period=100)]

    def policy(self, observation):
        return tf.nn.softmax(self.q_network(observation) / 0.1)

    def call(self, observation):
        return tf.argmax(self.q_network(observation), axis=-1)

    def explore(self, output, rng):
        return np.array([rng.choice(len(p), p=p / p.sum()) for p in output.astype(float)])

    def train_step(self, batch):
        v_t = tf.reduce_sum(
            self.policy(batch["next_observation"]) * self.target_network(batch["next_observation"]),
            axis=-1,
        )
        discount = self.discount * batch["discount"]
        target = kerasrl.losses.td_target(batch["reward"], discount, v_t)
        with tf.GradientTape() as tape:
            q = self.q_network(batch["observation"], training=True)
            q = tf.gather(q, batch["action"], batch_dims=1)
            loss = tf.reduce_mean(kerasrl.losses.huber(target - q))
            loss += self.layer_loss(self.q_network)  # Regularisers, if there are any.
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        self.target_network.update(self.q_network, self.optimizer.iterations)
        return self.track(loss=loss, q_value=tf.reduce_mean(q))


story = Story(__doc__, env_steps=30_000)
agent = ExpectedSarsa()
agent.compile(keras.optimizers.Adam(1e-3))
history = agent.fit(
    "CartPole-v1", env_steps=story.env_steps, validation_data="CartPole-v1", seed=story.seed
)
story.report(agent, "CartPole-v1", history)
