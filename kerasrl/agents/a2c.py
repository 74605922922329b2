"""Advantage actor-critic."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.actor_critic import (
    actor_critic_examples,
    build_actor,
    build_critic,
    explained_variance_of,
)
from kerasrl.agents.agent import Agent
from kerasrl.arguments import fraction, real
from kerasrl.callbacks import CollectRollouts
from kerasrl.replay import Queue
from kerasrl.training.precision import float32, scale_losses


@keras.saving.register_keras_serializable("kerasrl")
class A2C(Agent):
    """Advantage actor-critic, for Discrete, MultiDiscrete and Box actions.

    Unless told otherwise it collects rollouts of 5 steps in each environment, and takes one step on
    the whole of each, with RMSprop at 7e-4 and gradients clipped to a norm of 0.5. It is meant for
    several environments: `fit(env, num_envs=8)`. A Box has Gaussian actions, which are clipped for
    the environment, with standard deviations that do not depend on the observation; -1 and 1 stand
    for finite bounds, see `kerasrl.networks.GaussianActions`.

    Differs from the paper in waiting for all environments (which is what the name A2C stands for)
    and, by default, in having two networks rather than one with two heads.

    Args:
        actor: Keras model from a batch of observations to the parameters of the actions: `[B, P]`
            logits for Discrete and MultiDiscrete (one set after the other), means and then
            logarithms of standard deviations for Box, on the scale of its bounds; by default two
            layers of 64 with tanh.
        critic: Keras model from a batch of observations to values `[B, 1]`; by default likewise.
        gae_lambda: float in [0, 1], of generalized advantage estimation; 1, the paper's, takes all
            rewards to the end of the rollout and then the value.
        entropy_cost: float, the weight of the entropy.
        value_cost: float, the weight of half the squared error of the values.
        normalize_advantages: bool, over a rollout.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Reference:
        Mnih et al., "Asynchronous methods for deep reinforcement learning", 2016,
        https://arxiv.org/abs/1602.01783.
    """

    log_names = ("loss", "policy_loss", "value_loss", "entropy", "explained_variance")
    default_batch_size = None
    update_epochs = 1

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        gae_lambda: float = 1.0,
        entropy_cost: float = 0.0,
        value_cost: float = 1.0,
        normalize_advantages: bool = False,
        normalize_observations: bool = False,
        discount: float = 0.99,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(discount=discount, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        self.gae_lambda = fraction("gae_lambda", gae_lambda)
        self.entropy_cost = real("entropy_cost", entropy_cost)
        self.value_cost = real("value_cost", value_cost)
        self.normalize_advantages = normalize_advantages
        self.normalize_observations = normalize_observations

    def compile(
        self,
        optimizer: Any = None,
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizer, RMSprop at 7e-4 with gradients clipped; the rest is as in Keras.

        `steps_per_execution` must divide the number of updates that a rollout is for.
        """
        super().compile(
            optimizer
            or keras.optimizers.RMSprop(7e-4, rho=0.99, epsilon=1e-5, global_clipnorm=0.5),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        scale_losses(self)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given."""
        options = ((64, 64), self.normalize_observations)
        actor, self._actions = build_actor(self, self.actor, *options)
        critic = build_critic(self, self.critic, *options)
        self.actor = self.critic = None  # They are saved in the order in which they are set.
        self.actor, self.critic = actor, critic

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection."""
        return [CollectRollouts(length=5)]

    def default_replay(self) -> Queue:
        """A queue of rollouts."""
        return Queue()

    def batches(self, replay: Queue, batch_size: int | None) -> tf.data.Dataset:
        """Each rollout once: whole, or, if there is a batch size, in shuffled minibatches."""
        return replay.dataset(self.examples, batch_size, self.update_epochs)

    def examples(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """What is learned from a rollout, see `actor_critic_examples`."""
        return actor_critic_examples(
            rollout, self._actions, self.discount, self.gae_lambda, self.normalize_advantages
        )

    def policy(self, observation: Any) -> tf.Tensor:
        """Parameters of the actions, then the value: float `[B, P + 1]`."""
        parameters = float32(self.actor(observation, training=False))
        value = float32(self.critic(observation, training=False))
        return tf.concat([parameters, value], axis=-1)

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions `[B, ...]`: the likeliest."""
        return self._actions.mode(float32(self.actor(observation, training=False)))

    def sample(self, observation: Any) -> tf.Tensor:
        """Sampled actions `[B, ...]`, for a Box clipped to its bounds."""
        return self._actions.draw(float32(self.actor(observation, training=False)))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sampled actions `[B, ...]`, which for a Box may lie beyond its bounds."""
        return self._actions.sample(output[:, :-1], rng)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step on a rollout."""
        weight = batch["weight"]
        with tf.GradientTape() as tape:
            parameters = float32(self.actor(batch["observation"], training=True))
            v_tm1 = tf.squeeze(float32(self.critic(batch["observation"], training=True)), axis=-1)
            layer_loss = self.layer_loss(self.actor, self.critic)
            log_prob = self._actions.log_prob(parameters, batch["action"])
            policy_losses = losses.policy_gradient_loss(log_prob, batch["advantage"])
            policy_loss = tf.reduce_mean(weight * policy_losses)
            value_loss = tf.reduce_mean(weight * losses.l2(batch["return"] - v_tm1))
            entropy = tf.reduce_mean(weight * self._actions.entropy(parameters))
            loss = policy_loss + self.value_cost * value_loss - self.entropy_cost * entropy
            loss += layer_loss
        self.minimize(loss, tape, self.trainable_variables, self.optimizer)
        return self.track(
            loss=loss,
            policy_loss=policy_loss,
            value_loss=value_loss,
            entropy=entropy,
            explained_variance=explained_variance_of(batch),
            regularization_loss=layer_loss,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        config = super().get_config()
        del config["n_step"]
        return {
            **config,
            "actor": keras.saving.serialize_keras_object(self.actor),
            "critic": keras.saving.serialize_keras_object(self.critic),
            "gae_lambda": self.gae_lambda,
            "entropy_cost": self.entropy_cost,
            "value_cost": self.value_cost,
            "normalize_advantages": self.normalize_advantages,
            "normalize_observations": self.normalize_observations,
        }
