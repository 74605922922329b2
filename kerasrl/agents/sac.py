"""Soft actor-critic."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.continuous import ContinuousAgent
from kerasrl.arguments import positive, real
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.compatibility import raw
from kerasrl.networks import tanh_gaussian_distribution, tanh_gaussian_sample
from kerasrl.training.precision import float32

_MIN_LOG_STD, _MAX_LOG_STD = -20.0, 2.0


@keras.saving.register_keras_serializable("kerasrl")
class SAC(ContinuousAgent):
    """Soft actor-critic with twin critics and a learned temperature, for bounded Box actions.

    Unless told otherwise it collects one environment step per update after 1000 random ones, moves
    the target critics by 0.005 after every update, keeps 1 000 000 transitions, and learns from
    batches of 256 with Adam at 3e-4. The critics are given actions rescaled to [-1, 1].

    Differs from the paper in learning the logarithm of the temperature, as is common practice, and
    in clipping the logarithm of the standard deviation to [-20, 2], as the authors' code does.

    Args:
        actor: Keras model from a batch of observations to `[B, 2 * A]`: the means, then the
            logarithms of the standard deviations, of a Gaussian before tanh; by default two layers
            of 256 on the flattened observation.
        critic: Keras model from `[observation, action]` to `[B, 1]`, the action value; it is cloned
            for the twin. By default two layers of 256 on both, concatenated.
        temperature: float, the initial weight of the entropy.
        target_entropy: float, in nats, what the temperature is learned for; by default minus the
            number of action dimensions. None of it is learned when `learn_temperature` is False.
        learn_temperature: bool.
        normalize_observations: bool, whether the default networks begin with a layer that adapts
            to the observations while collecting.
        discount: float in [0, 1], per environment step.
        n_step: int, rewards summed before bootstrapping.
        reward_scale: float, what rewards are multiplied by.
        name: str.

    Reference:
        Haarnoja et al., "Soft actor-critic algorithms and applications", 2018,
        https://arxiv.org/abs/1812.05905.
    """

    log_names = (
        "loss",
        "critic_loss",
        "actor_loss",
        "temperature_loss",
        "temperature",
        "entropy",
        "td_error",
    )
    units = (256, 256)
    default_learning_rate = 3e-4
    actor_outputs = 2
    twin_critics = True
    actor_has_target = False
    resolved_arguments = ("target_entropy",)

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        temperature: float = 1.0,
        target_entropy: float | None = None,
        learn_temperature: bool = True,
        normalize_observations: bool = False,
        discount: float = 0.99,
        n_step: int = 1,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(
            actor, critic, normalize_observations, discount, n_step, reward_scale, name
        )
        temperature = positive("temperature", temperature)
        self.target_entropy: Any = real("target_entropy", target_entropy, optional=True)
        self.learn_temperature = learn_temperature
        with self.distribute_strategy.scope():
            initial = keras.initializers.Constant(np.log(temperature))
            self.log_temperature = self.add_weight(
                name="log_temperature", shape=(), initializer=initial
            )

    def compile(
        self,
        actor_optimizer: Any = None,
        critic_optimizer: Any = None,
        temperature_optimizer: Any = None,
        *,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizers as `compile` of the family does; `agent.optimizer` is the actor's."""
        optimizers = {
            "actor_optimizer": actor_optimizer,
            "critic_optimizer": critic_optimizer,
            "temperature_optimizer": temperature_optimizer,
        }
        self.compile_optimizers(optimizers, steps_per_execution, jit_compile, run_eagerly)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given, the twin, and the target critics."""
        super().build_networks()
        if self.target_entropy is None:
            self.target_entropy = -float(self._scale.size)

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""
        return super().optimized_variables() | {"temperature_optimizer": [self.log_temperature]}

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection and target updates."""
        return [
            Collect(env_steps_per_update=1, warmup_steps=1_000),
            TargetUpdate(period=1, step_size=0.005),
        ]

    def policy(self, observation: Any) -> tf.Tensor:
        """Parameters of the Gaussian before tanh, float `[B, 2 * A]`."""
        return float32(self.actor(observation, training=False))

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions `[B, ...]`: the mean before tanh, squashed and scaled."""
        mean, _ = tf.split(self.policy(observation), 2, axis=-1)
        return self._scale.shaped(self._scale.from_unit(tf.tanh(mean)))

    def distribution(self, observation: Any) -> Any:
        """The squashed Gaussian that is learned; see `Agent.distribution`."""
        mean, log_std = tf.split(self.policy(observation), 2, axis=-1)
        log_std = tf.clip_by_value(log_std, _MIN_LOG_STD, _MAX_LOG_STD)
        return tanh_gaussian_distribution(mean, log_std, self.action_space)

    def sample(self, observation: Any) -> tf.Tensor:
        """Sampled actions `[B, ...]`."""
        mean, log_std = tf.split(self.policy(observation), 2, axis=-1)
        std = tf.exp(tf.clip_by_value(log_std, _MIN_LOG_STD, _MAX_LOG_STD))
        noise = tf.random.normal(tf.shape(mean), dtype=mean.dtype)
        return self._scale.shaped(self._scale.from_unit(tf.tanh(mean + std * noise)))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sampled actions, `[B, ...]`."""
        mean, log_std = np.split(output, 2, axis=-1)
        std = np.exp(np.clip(log_std, _MIN_LOG_STD, _MAX_LOG_STD))
        noise = rng.standard_normal(mean.shape, np.float32)
        return self._scale.shaped(self._scale.from_unit(np.tanh(mean + std * noise)))

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critics, the actor and the temperature."""
        critic_loss, td_error, of_critic = self._update_critic(batch)
        self.prioritize(batch, tf.reduce_mean(tf.abs(td_error), axis=-1))
        actor_loss, log_prob, of_actor = self._update_actor(batch)
        temperature_loss = self._update_temperature(batch, log_prob)
        self.target_critic.update(self.critic, self.optimizer.iterations)
        return self.track(
            loss=critic_loss + actor_loss + temperature_loss,
            critic_loss=critic_loss,
            actor_loss=actor_loss,
            temperature_loss=temperature_loss,
            temperature=tf.exp(self.log_temperature),
            entropy=-tf.reduce_mean(log_prob),
            td_error=tf.reduce_mean(tf.abs(td_error)),
            regularization_loss=of_critic + of_actor,
        )

    def _update_critic(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor, Any]:
        action_tm1 = self._scale.to_unit(batch["action"])
        action_t, log_prob_t = self._sample(batch["next_observation"], salt=0)
        q_t = self.target_critic([batch["next_observation"], action_t])  # [B, 2]
        discount, temperature = self.discount * batch["discount"], tf.exp(self.log_temperature)
        target = losses.soft_td_target(batch["reward"], discount, q_t, log_prob_t, temperature)
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            layer_loss = self.layer_loss(self.critic)
            loss = self.mean(batch, losses.sac_critic_loss(q_tm1, target)) + layer_loss
        self.minimize(loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        return loss, target[:, tf.newaxis] - q_tm1, layer_loss

    def _update_actor(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([raw(weight) for weight in self.actor.trainable_variables])
            action, log_prob = self._sample(batch["observation"], salt=1)
            layer_loss = self.layer_loss(self.actor)
            q = float32(self.critic([batch["observation"], action], training=False))
            temperature = tf.exp(self.log_temperature)
            actor_losses = losses.sac_actor_loss(q, log_prob, temperature)
            loss = self.mean(batch, actor_losses) + layer_loss
        self.minimize(loss, tape, self.actor.trainable_variables, self.actor_optimizer)
        return loss, log_prob, layer_loss

    def _update_temperature(self, batch: dict[str, Any], log_prob: tf.Tensor) -> tf.Tensor:
        if not self.learn_temperature:
            return tf.zeros(())
        with tf.GradientTape() as tape:
            temperature_losses = losses.sac_temperature_loss(
                self.log_temperature, log_prob, self.target_entropy
            )
            loss = self.mean(batch, temperature_losses)
        self.minimize(loss, tape, [self.log_temperature], self.temperature_optimizer)
        return loss

    def _sample(self, observation: Any, salt: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Samples actions in [-1, 1], `[B, A]`, and their log-probabilities, `[B]`."""
        parameters = float32(self.actor(observation, training=True))
        mean, log_std = tf.split(parameters, 2, axis=-1)
        log_std = tf.clip_by_value(log_std, _MIN_LOG_STD, _MAX_LOG_STD)
        return tanh_gaussian_sample(mean, log_std, self.random_normal(tf.shape(mean), salt))
