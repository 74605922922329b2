"""Twin delayed deep deterministic policy gradient."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.continuous import DeterministicAgent
from kerasrl.arguments import not_negative, whole
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.training.conditional import step_if
from kerasrl.training.precision import float32


@keras.saving.register_keras_serializable("kerasrl")
class TD3(DeterministicAgent):
    """Twin delayed deep deterministic policy gradient, for bounded Box actions.

    DDPG with two critics, of which the lesser is believed; with noise on the target's actions; and
    with an actor and targets that are updated less often than the critics.

    Unless told otherwise it collects one environment step per update after 10 000 random ones,
    explores with Gaussian noise of a tenth of half the range, updates the actor and moves the
    targets by 0.005 at every second update, keeps 1 000 000 transitions, and learns from batches of
    256 with Adam at 1e-3. The critics are given actions rescaled to [-1, 1].

    Args:
        actor: Keras model from a batch of observations to actions `[B, A]` in the environment's
            units; by default layers of 400 and 300 on the flattened observation, and `TanhToSpec`.
        critic: Keras model from `[observation, action]` to `[B, 1]`, the action value; it is cloned
            for the twin. By default layers of 400 and 300 on both, concatenated.
        exploration_noise: float, standard deviation of the noise; 1 is half the range of actions.
        target_noise: float, the same of the noise on the target's actions.
        target_noise_clip: float, the largest noise on them.
        policy_delay: int, updates of the critics for each one of the actor. The targets have a
            period of their own, see `TargetUpdate`, by default the same.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        n_step: int, rewards summed before bootstrapping.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Attributes:
        exploration_noise: float32 weight, so that `LinearSchedule` can anneal it.

    Reference:
        Fujimoto et al., "Addressing function approximation error in actor-critic methods", 2018,
        https://arxiv.org/abs/1802.09477.
    """

    twin_critics = True

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        exploration_noise: float = 0.1,
        target_noise: float = 0.2,
        target_noise_clip: float = 0.5,
        policy_delay: int = 2,
        normalize_observations: bool = False,
        discount: float = 0.99,
        n_step: int = 1,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(
            actor, critic, normalize_observations, discount, n_step, reward_scale, name
        )
        noise = not_negative("exploration_noise", exploration_noise)
        self.exploration_noise = self.setting("exploration_noise", noise)
        self.target_noise = not_negative("target_noise", target_noise)
        self.target_noise_clip = not_negative("target_noise_clip", target_noise_clip)
        self.policy_delay = whole("policy_delay", policy_delay)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection and target updates."""
        return [
            Collect(env_steps_per_update=1, warmup_steps=10_000),
            TargetUpdate(period=self.policy_delay, step_size=0.005),
        ]

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critics and, when it is due, the actor."""
        action_t = self._target_action(batch["next_observation"])
        q_t = self.target_critic([batch["next_observation"], action_t])  # [B, 2]
        discount = self.discount * batch["discount"]
        target = losses.td_target(batch["reward"], discount, tf.reduce_min(q_t, axis=-1))
        action_tm1 = self._scale.to_unit(batch["action"])
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            td_error = target[:, tf.newaxis] - q_tm1  # [B, 2]
            layer_loss = self.layer_loss(self.critic)
            critic_losses = tf.reduce_sum(losses.l2(td_error), axis=-1)
            critic_loss = self.mean(batch, critic_losses) + layer_loss
        self.minimize(critic_loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        self.prioritize(batch, tf.reduce_mean(tf.abs(td_error), axis=-1))
        actor_loss, of_actor = self._update_actor_if_due(batch)
        self.target_critic.update(self.critic, self.optimizer.iterations)
        self.target_actor.update(self.actor, self.optimizer.iterations)
        return self.track(
            loss=critic_loss + actor_loss,
            critic_loss=critic_loss,
            actor_loss=actor_loss,
            q_value=tf.reduce_mean(q_tm1),
            td_error=tf.reduce_mean(tf.abs(td_error)),
            regularization_loss=layer_loss + of_actor,
        )

    def _target_action(self, observation: Any) -> tf.Tensor:
        """The target's actions in [-1, 1] with clipped noise, `[B, A]`."""
        action = self._scale.to_unit(self.target_actor(observation))
        # A dimension that is constant stays so: 0, as in the replay.
        std = self.target_noise * np.sign(self._scale.scale)
        noise = std * self.random_normal(tf.shape(action), salt=0)
        clip = self.target_noise_clip
        return tf.clip_by_value(action + tf.clip_by_value(noise, -clip, clip), -1.0, 1.0)

    def actor_loss(self, observation: Any, action: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Minus the first critic's values, and these."""
        q = float32(self.critic([observation, action], training=False))[:, 0]
        return -q, q

    def _update_actor_if_due(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        due = tf.equal(self.optimizer.iterations % self.policy_delay, 0)
        variables, optimizer = self.actor.trainable_variables, self.actor_optimizer
        figures = step_if(
            due, lambda: tf.stack(self.update_actor(batch)), variables, optimizer, (2,)
        )
        # So that their means are those of the updates that were due.
        return tuple(tf.unstack(self.policy_delay * figures))
