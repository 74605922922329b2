"""REINFORCE."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.on_policy import OnPolicyAgent, example_weights, normalize
from kerasrl.arguments import real
from kerasrl.callbacks import CollectEpisodes
from kerasrl.training.precision import float32


@keras.saving.register_keras_serializable("kerasrl")
class REINFORCE(OnPolicyAgent):
    """Monte Carlo policy gradient on whole episodes, for Discrete, MultiDiscrete and Box actions.

    Unless told otherwise it takes one step on every two episodes, of up to 1000 steps each, with
    Adam at 1e-3. As they are collected before every step, an execution has one step. A Box has
    Gaussian actions, which are clipped for the environment, with standard deviations that do
    not depend on the observation; -1 and 1 stand for finite bounds, see
    `kerasrl.networks.GaussianActions`.

    Differs from the paper in leaving out the factor `discount ** t` of the t-th step, in
    normalising the returns, and in taking the mean over all steps of an update where the paper
    sums over an episode: all as is common practice. The mean makes a step of the optimizer no
    larger for longer episodes; for a plain optimizer the paper's learning rate is this one divided
    by the number of steps of an episode.

    Args:
        actor: Keras model from a batch of observations to the parameters of the actions: `[B, P]`
            logits for Discrete and MultiDiscrete (one set after the other), means and then
            logarithms of standard deviations for Box, on the scale of its bounds; by default one
            layer of 100 with tanh.
        critic: Keras model from a batch of observations to values `[B, 1]`; by default likewise.
            Giving one means `baseline=True`.
        baseline: bool, whether a learned value is subtracted from the returns, and stands in for
            what follows a truncation. Without one, a truncated episode counts as an ended one.
        normalize_returns: bool, over the episodes of an update, to mean 0 and standard deviation 1.
        entropy_cost: float, the weight of the entropy.
        value_cost: float, the weight of half the squared error of the values.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Reference:
        Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
        learning", 1992.
    """

    resolved_arguments = ("baseline",)
    units = (100,)

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        baseline: bool = False,
        normalize_returns: bool = True,
        entropy_cost: float = 0.0,
        value_cost: float = 1.0,
        normalize_observations: bool = False,
        discount: float = 0.99,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(actor, critic, normalize_observations, discount, reward_scale, name)
        self.baseline = self.has_critic = baseline or critic is not None
        self.normalize_returns = normalize_returns
        self.entropy_cost = real("entropy_cost", entropy_cost)
        self.value_cost = real("value_cost", value_cost)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam at 1e-3."""
        return keras.optimizers.Adam(1e-3)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection."""
        return [CollectEpisodes(episodes=2, max_steps=1_000)]

    def examples(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """What is learned from episodes `[T, N, ...]`, see `kerasrl.replay.rollout_spec`."""
        reward, goes_on = rollout["reward"], rollout["discount"]
        weight = example_weights(rollout["valid"])
        value = tf.zeros_like(reward)
        if self.baseline:
            value, v_t = rollout["policy"][..., -1], rollout["next_policy"][..., -1]
            cut = goes_on * tf.cast(rollout["ended"], tf.float32)
            reward += self.discount * cut * v_t  # What would have followed a truncation.
        # Beyond the end of an episode its column holds zeros.
        returns = losses.discounted_returns(
            reward, self.discount * tf.cast(~rollout["ended"], tf.float32), tf.zeros(())
        )
        advantage = returns - value
        return {
            "observation": rollout["observation"],
            "action": rollout["action"],
            "advantage": normalize(advantage, weight) if self.normalize_returns else advantage,
            "return": returns,
            "weight": weight,
        }

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step on the episodes of an update."""
        with tf.GradientTape() as tape:
            parameters = float32(self.actor(batch["observation"], training=True))
            log_prob = self._actions.log_prob(parameters, batch["action"])
            policy_losses = losses.policy_gradient_loss(log_prob, batch["advantage"])
            policy_loss = self.mean(batch, policy_losses)
            entropy = self.mean(batch, self._actions.entropy(parameters))
            value_loss = self._value_loss(batch)
            layer_loss = self.layer_loss(self.actor, self.critic)
            loss = policy_loss + self.value_cost * value_loss - self.entropy_cost * entropy
            loss += layer_loss
        self.minimize(loss, tape, self.trainable_variables, self.optimizer)
        return self.track(
            loss=loss,
            policy_loss=policy_loss,
            value_loss=value_loss,
            entropy=entropy,
            regularization_loss=layer_loss,
        )

    def _value_loss(self, batch: dict[str, Any]) -> tf.Tensor:
        if not self.baseline:
            return tf.zeros(())
        v_tm1 = tf.squeeze(float32(self.critic(batch["observation"], training=True)), axis=-1)
        return self.mean(batch, losses.l2(batch["return"] - v_tm1))
