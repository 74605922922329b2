"""Proximal policy optimization."""

import functools
from typing import Any

import keras
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.on_policy import OnPolicyAgent, actor_critic_examples, explained_variance_of
from kerasrl.arguments import fraction, positive, real, whole
from kerasrl.callbacks import CollectRollouts
from kerasrl.training.conditional import step_if
from kerasrl.training.precision import float32

_LARGEST_LOG_RATIO = 30.0  # A ratio of 1e13.


@keras.saving.register_keras_serializable("kerasrl")
class PPO(OnPolicyAgent):
    """Proximal policy optimization with a clipped objective, for Discrete, MultiDiscrete and Box.

    Unless told otherwise it collects rollouts of 2048 steps in each environment, and goes over
    each for 10 epochs in minibatches of 64, with Adam at 3e-4 and gradients clipped to a norm of
    0.5. A Box has Gaussian actions, which are clipped for the environment, with standard
    deviations that do not depend on the observation; -1 and 1 stand for finite bounds, see
    `kerasrl.networks.GaussianActions`.

    Differs from the paper in what its authors' code adds: normalised advantages (here over a whole
    rollout), clipped gradients, orthogonal initial weights; and, if asked for, clipped values and
    an end to the updates of a rollout when the policy has moved too far.

    Args:
        actor: Keras model from a batch of observations to the parameters of the actions: `[B, P]`
            logits for Discrete and MultiDiscrete (one set after the other), means and then
            logarithms of standard deviations for Box, on the scale of its bounds; by default two
            layers of 64 with tanh.
        critic: Keras model from a batch of observations to values `[B, 1]`; by default likewise.
        update_epochs: int, passes over a rollout.
        clip_range: float, how far the ratio of probabilities may move from 1.
        clip_values: bool, whether values are clipped to within `clip_range` of the old ones.
        gae_lambda: float in [0, 1], of generalized advantage estimation.
        entropy_cost: float, the weight of the entropy.
        value_cost: float, the weight of half the squared error of the values.
        target_kl: float, in nats: when the policy has moved 1.5 times so far, the rest of the
            rollout is not learned from; None never stops.
        normalize_advantages: bool.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Attributes:
        clip_range: float32 weight, so that `LinearSchedule` can anneal it.

    Reference:
        Schulman et al., "Proximal policy optimization algorithms", 2017,
        https://arxiv.org/abs/1707.06347.
    """

    log_names = (*OnPolicyAgent.log_names, "approximate_kl", "clip_fraction", "explained_variance")
    default_batch_size = 64

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        update_epochs: int = 10,
        clip_range: float = 0.2,
        clip_values: bool = False,
        gae_lambda: float = 0.95,
        entropy_cost: float = 0.0,
        value_cost: float = 1.0,
        target_kl: float | None = None,
        normalize_advantages: bool = True,
        normalize_observations: bool = False,
        discount: float = 0.99,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(actor, critic, normalize_observations, discount, reward_scale, name)
        self.update_epochs = whole("update_epochs", update_epochs)
        self.clip_values = clip_values
        self.gae_lambda = fraction("gae_lambda", gae_lambda)
        self.entropy_cost = real("entropy_cost", entropy_cost)
        self.value_cost = real("value_cost", value_cost)
        self.target_kl = positive("target_kl", target_kl, optional=True)
        self.normalize_advantages = normalize_advantages
        self.clip_range = self.setting("clip_range", positive("clip_range", clip_range))
        with self.distribute_strategy.scope():
            # The `env_steps` of a rollout that is learned out.
            self._stopped_at = self._counter("stopped_at", -1)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam at 3e-4 with clipped gradients."""
        return keras.optimizers.Adam(3e-4, epsilon=1e-5, global_clipnorm=0.5)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection."""
        return [CollectRollouts(length=2048)]

    def examples(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """What is learned from a rollout, see `actor_critic_examples`."""
        return actor_critic_examples(
            rollout, self._actions, self.discount, self.gae_lambda, self.normalize_advantages
        )

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step on a minibatch."""
        with tf.GradientTape() as tape:
            parameters = float32(self.actor(batch["observation"], training=True))
            v_tm1 = tf.squeeze(float32(self.critic(batch["observation"], training=True)), axis=-1)
            layer_loss = self.layer_loss(self.actor, self.critic)
            log_prob = self._actions.log_prob(parameters, batch["action"])
            log_prob = _within_reach(log_prob, batch["log_prob"])
            policy_losses = losses.clipped_surrogate_loss(
                log_prob, batch["log_prob"], batch["advantage"], self.clip_range
            )
            policy_loss = self.mean(batch, policy_losses)
            value_loss = self.mean(batch, self._value_loss(v_tm1, batch))
            entropy = self.mean(batch, self._actions.entropy(parameters))
            loss = policy_loss + self.value_cost * value_loss - self.entropy_cost * entropy
            loss += layer_loss
        kl = self.mean(batch, losses.approximate_kl(log_prob, batch["log_prob"]))
        self._minimize_unless_stopped(loss, tape, kl, batch["env_steps"][0])
        moved = tf.abs(tf.exp(log_prob - batch["log_prob"]) - 1.0)
        clipped = tf.greater(moved, self.clip_range)  # `>` fails under NumPy's behaviour.
        return self.track(
            loss=loss,
            policy_loss=policy_loss,
            value_loss=value_loss,
            entropy=entropy,
            approximate_kl=kl,
            clip_fraction=self.mean(batch, tf.cast(clipped, tf.float32)),
            explained_variance=explained_variance_of(batch),
            regularization_loss=layer_loss,
        )

    def _value_loss(self, v_tm1: tf.Tensor, batch: dict[str, Any]) -> tf.Tensor:
        if not self.clip_values:
            return losses.l2(batch["return"] - v_tm1)
        return losses.clipped_value_loss(v_tm1, batch["value"], batch["return"], self.clip_range)

    def _minimize_unless_stopped(
        self, loss: tf.Tensor, tape: tf.GradientTape, kl: tf.Tensor, rollout: tf.Tensor
    ) -> None:
        variables = self.trainable_variables
        if self.target_kl is None:
            self.minimize(loss, tape, variables, self.optimizer)
            return
        context = tf.distribute.get_replica_context()
        kl = context.all_reduce(tf.distribute.ReduceOp.MEAN, kl)
        stopped = (kl > 1.5 * self.target_kl) | tf.equal(self._stopped_at, rollout)
        self._stopped_at.assign(tf.where(stopped, rollout, self._stopped_at))
        step = functools.partial(self.minimize, loss, tape, variables, self.optimizer)
        step_if(~stopped, step, variables, self.optimizer)


def _within_reach(log_prob: tf.Tensor, behaviour_log_prob: tf.Tensor) -> tf.Tensor:
    """Bounds the ratio of two probabilities, as optimizers square gradients and floats have an end.

    The gradient passes as if there were no bound.
    """
    beyond = tf.nn.relu(log_prob - behaviour_log_prob - _LARGEST_LOG_RATIO)
    return log_prob - tf.stop_gradient(beyond)
