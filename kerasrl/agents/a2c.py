"""Advantage actor-critic."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.on_policy import OnPolicyAgent, actor_critic_examples, explained_variance_of
from kerasrl.arguments import fraction, real
from kerasrl.callbacks import CollectRollouts
from kerasrl.training.precision import float32


@keras.saving.register_keras_serializable("kerasrl")
class A2C(OnPolicyAgent):
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

    log_names = (*OnPolicyAgent.log_names, "explained_variance")

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
        super().__init__(actor, critic, normalize_observations, discount, reward_scale, name)
        self.gae_lambda = fraction("gae_lambda", gae_lambda)
        self.entropy_cost = real("entropy_cost", entropy_cost)
        self.value_cost = real("value_cost", value_cost)
        self.normalize_advantages = normalize_advantages

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """RMSprop at 7e-4 with clipped gradients."""
        return keras.optimizers.RMSprop(7e-4, rho=0.99, epsilon=1e-5, global_clipnorm=0.5)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection."""
        return [CollectRollouts(length=5)]

    def examples(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """What is learned from a rollout, see `actor_critic_examples`."""
        return actor_critic_examples(
            rollout, self._actions, self.discount, self.gae_lambda, self.normalize_advantages
        )

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step on a rollout."""
        with tf.GradientTape() as tape:
            parameters = float32(self.actor(batch["observation"], training=True))
            v_tm1 = tf.squeeze(float32(self.critic(batch["observation"], training=True)), axis=-1)
            layer_loss = self.layer_loss(self.actor, self.critic)
            log_prob = self._actions.log_prob(parameters, batch["action"])
            policy_losses = losses.policy_gradient_loss(log_prob, batch["advantage"])
            policy_loss = self.mean(batch, policy_losses)
            value_loss = self.mean(batch, losses.l2(batch["return"] - v_tm1))
            entropy = self.mean(batch, self._actions.entropy(parameters))
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
