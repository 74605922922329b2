"""Deep Q-network."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.agent import Agent
from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate
from kerasrl.networks import MLP, DuelingHead, Target, last_layer_dtype, observation_features
from kerasrl.replay import Uniform
from kerasrl.training.checks import check_action_space, check_network
from kerasrl.training.precision import float32


@keras.saving.register_keras_serializable("kerasrl")
class DQN(Agent):
    """Deep Q-learning with a target network, for Discrete actions.

    Unless told otherwise it collects one environment step per update after 1000 random ones,
    anneals epsilon from 1 to 0.05 over 10 000 environment steps, moves the target network by 0.005
    after every update, keeps 100 000 transitions of 5 steps, and learns from batches of 64 with
    Adam at 5e-4. These are settings for low-dimensional observations, not the paper's for Atari,
    and so are double Q-learning and 5 steps; the loss is the paper's clipped error (Huber), on two
    hidden layers of 256.

    Args:
        q_network: Keras model from a batch of observations to action values `[B, num_actions]`; by
            default two layers of 256 on the flattened observation.
        double: bool, whether the online network selects the action that the target network values.
        dueling: bool, whether the default network has a dueling head.
        normalize_observations: bool, whether the default network begins with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        n_step: int, rewards summed before bootstrapping.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Attributes:
        epsilon: float32 weight, the probability of a random action while collecting.

    Reference:
        Mnih et al., "Human-level control through deep reinforcement learning", 2015; van Hasselt et
        al., "Deep reinforcement learning with double Q-learning", 2016; Wang et al., "Dueling
        network architectures for deep reinforcement learning", 2016.
    """

    log_names = ("loss", "q_value", "td_error")
    default_batch_size = 64

    def __init__(
        self,
        q_network: keras.Model | None = None,
        *,
        double: bool = True,
        dueling: bool = False,
        normalize_observations: bool = False,
        discount: float = 0.99,
        n_step: int = 5,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(discount=discount, n_step=n_step, reward_scale=reward_scale, name=name)
        self.q_network: Any = q_network
        self.double = double
        self.dueling = dueling
        self.normalize_observations = normalize_observations
        self.epsilon = self.setting("epsilon", 1.0)

    def build_networks(self) -> None:
        """Makes the default network unless one was given, and the target network."""
        check_action_space(self, gym.spaces.Discrete, others="SAC or PPO")
        num_actions = int(self.action_space.n)
        q_network = self.q_network
        if q_network is None:
            inputs, features = observation_features(
                self.observation_space, self.normalize_observations
            )
            head = DuelingHead if self.dueling else keras.layers.Dense
            values = head(num_actions, dtype=last_layer_dtype())(MLP((256, 256))(features))
            q_network = keras.Model(inputs, values, name="q_network")
        check_network("q_network", q_network, self.observation_spec, (None, num_actions))
        target_network = Target(q_network, name="target_network")
        self.q_network, self.target_network = q_network, target_network

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam at 5e-4."""
        return keras.optimizers.Adam(5e-4)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection, target updates and the annealing of epsilon."""
        return [
            Collect(env_steps_per_update=1, warmup_steps=1_000),
            TargetUpdate(period=1, step_size=0.005),
            LinearSchedule("epsilon", 1.0, 0.05, env_steps=10_000),
        ]

    def default_replay(self) -> Uniform:
        """Uniform replay of 100 000 transitions."""
        return Uniform(capacity=100_000)

    def policy(self, observation: Any) -> tf.Tensor:
        """Probabilities of the epsilon-greedy actions, float `[B, num_actions]`."""
        q = float32(self.q_network(observation, training=False))
        greedy = tf.one_hot(tf.argmax(q, axis=-1), q.shape[-1])
        return (1.0 - self.epsilon) * greedy + self.epsilon / q.shape[-1]

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions, `[B]` of the space's dtype."""
        q = self.q_network(observation, training=False)
        action = tf.argmax(q, axis=-1) + int(self.action_space.start)
        return tf.cast(action, tf.as_dtype(self.action_space.dtype))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Epsilon-greedy actions, `[B]` of the space's dtype."""
        cumulative = output.cumsum(axis=-1)
        below = rng.random((len(output), 1)) * cumulative[:, -1:] < cumulative
        action = below.argmax(axis=-1) + int(self.action_space.start)
        return action.astype(self.action_space.dtype)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of (double) Q-learning."""
        action = tf.cast(batch["action"], tf.int64) - int(self.action_space.start)
        discount = self.discount * batch["discount"]
        q_t = self.target_network(batch["next_observation"])  # [B, A]
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.q_network(batch["observation"], training=True))  # [B, A]
            layer_loss = self.layer_loss(self.q_network)
            if self.double:
                selector = self.q_network(batch["next_observation"], training=False)
                error = losses.double_q_learning(
                    q_tm1, action, batch["reward"], discount, q_t, selector
                )
            else:
                error = losses.q_learning(q_tm1, action, batch["reward"], discount, q_t)
            loss = self.mean(batch, losses.huber(error)) + layer_loss
        self.minimize(loss, tape, self.q_network.trainable_variables, self.optimizer)
        self.prioritize(batch, tf.abs(error))
        self.target_network.update(self.q_network, self.optimizer.iterations)
        return self.track(
            loss=loss,
            q_value=tf.reduce_mean(q_tm1),
            td_error=tf.reduce_mean(tf.abs(error)),
            regularization_loss=layer_loss,
        )
