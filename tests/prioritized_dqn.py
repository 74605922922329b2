"""An agent that learns from priorities, by the documentation alone."""

import keras
import tensorflow as tf

import kerasrl
from kerasrl import losses


@keras.saving.register_keras_serializable("tests")
class PrioritizedDQN(kerasrl.DQN):
    """DQN that weights its loss, and gives the size of its error as priority."""

    def train_step(self, batch):
        discount = self.discount * batch["discount"]
        q_t = self.target_network(batch["next_observation"])
        with tf.GradientTape() as tape:
            q_tm1 = self.q_network(batch["observation"], training=True)
            error = losses.q_learning(q_tm1, batch["action"], batch["reward"], discount, q_t)
            loss = self.mean(batch, losses.huber(error))
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        self.prioritize(batch, tf.abs(error))
        self.target_network.update(self.q_network, self.optimizer.iterations)
        error = tf.reduce_mean(tf.abs(error))
        return self.track(loss=loss, q_value=tf.reduce_mean(q_tm1), td_error=error)
