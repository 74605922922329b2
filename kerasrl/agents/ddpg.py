"""Deep deterministic policy gradient."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.continuous import DeterministicAgent
from kerasrl.arguments import not_negative, positive
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.training.precision import float32, gradient


@keras.saving.register_keras_serializable("kerasrl")
class DDPG(DeterministicAgent):
    """Deep deterministic policy gradient, for bounded Box actions.

    Unless told otherwise it collects one environment step per update after 10 000 random ones,
    explores with Gaussian noise of a tenth of half the range, moves both targets by 0.005 after
    every update, keeps 1 000 000 transitions, and learns from batches of 256 with Adam at 1e-3.

    Differs from the paper in exploring with Gaussian rather than Ornstein-Uhlenbeck noise (see
    `kerasrl.networks.OrnsteinUhlenbeck`), and in these settings, which are those of later work. The
    critic is given actions rescaled to [-1, 1].

    Args:
        actor: Keras model from a batch of observations to actions `[B, A]` in the environment's
            units; by default layers of 400 and 300 on the flattened observation, and `TanhToSpec`.
        critic: Keras model from `[observation, action]` to `[B, 1]`, the action value; by default
            layers of 400 and 300 on both, concatenated.
        exploration_noise: float, standard deviation of the noise; 1 is half the range of actions.
        dqda_clipping: float, the largest norm of the critic's gradient by the (rescaled) action
            that the actor follows; None leaves it as it is.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        n_step: int, rewards summed before bootstrapping.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Attributes:
        exploration_noise: float32 weight, so that `LinearSchedule` can anneal it.

    Reference:
        Lillicrap et al., "Continuous control with deep reinforcement learning", 2016,
        https://arxiv.org/abs/1509.02971; Silver et al., "Deterministic policy gradient algorithms",
        2014.
    """

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        exploration_noise: float = 0.1,
        dqda_clipping: float | None = None,
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
        self.dqda_clipping = positive("dqda_clipping", dqda_clipping, optional=True)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection and target updates."""
        return [
            Collect(env_steps_per_update=1, warmup_steps=10_000),
            TargetUpdate(period=1, step_size=0.005),
        ]

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critic and the actor."""
        action_t = self._scale.to_unit(self.target_actor(batch["next_observation"]))
        q_t = self.target_critic([batch["next_observation"], action_t])  # [B, 1]
        discount = self.discount * batch["discount"]
        target = losses.td_target(batch["reward"], discount, tf.squeeze(q_t, axis=-1))
        action_tm1 = self._scale.to_unit(batch["action"])
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            td_error = target - tf.squeeze(q_tm1, axis=-1)
            layer_loss = self.layer_loss(self.critic)
            critic_loss = self.mean(batch, losses.l2(td_error)) + layer_loss
        self.minimize(critic_loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        self.prioritize(batch, tf.abs(td_error))
        actor_loss, of_actor = self.update_actor(batch)
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

    def actor_loss(self, observation: Any, action: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The deterministic policy gradient, and the values that it climbs."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(action)
            q = float32(self.critic([observation, action], training=False))
        dqda = gradient(tape, q, action, self.actor_optimizer)
        return losses.dpg_loss(action, dqda, self.dqda_clipping), q
