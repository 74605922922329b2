"""Deep deterministic policy gradient."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.action_scale import ActionScale
from kerasrl.agents.agent import Agent
from kerasrl.arguments import not_negative, positive
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.networks import MLP, TanhToSpec, Target, last_layer_dtype, observation_features
from kerasrl.training.checks import check_action_space, check_bounded, check_network
from kerasrl.training.precision import float32, gradient, scale_losses


@keras.saving.register_keras_serializable("kerasrl")
class DDPG(Agent):
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

    log_names = ("loss", "critic_loss", "actor_loss", "q_value", "td_error")

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
        super().__init__(discount=discount, n_step=n_step, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        exploration_noise = not_negative("exploration_noise", exploration_noise)
        self.initial_noise = exploration_noise
        self.dqda_clipping = positive("dqda_clipping", dqda_clipping, optional=True)
        self.normalize_observations = normalize_observations
        self.exploration_noise = self.setting("exploration_noise", exploration_noise)

    def compile(
        self,
        actor_optimizer: Any = None,
        critic_optimizer: Any = None,
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizers, Adam at 1e-3 by default; the rest is as in Keras.

        `agent.optimizer` is the critic's. When Keras's `LearningRateScheduler` or
        `ReduceLROnPlateau` changes its learning rate, those of the others keep their ratio to it.
        `LinearSchedule` reaches one alone, as `"critic_optimizer.learning_rate"`.
        """
        super().compile(
            critic_optimizer or keras.optimizers.Adam(1e-3),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        with self.distribute_strategy.scope():
            self.critic_optimizer = self.optimizer
            self.actor_optimizer = keras.optimizers.get(
                actor_optimizer or keras.optimizers.Adam(1e-3)
            )
        scale_losses(self)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given, and the targets."""
        check_action_space(self, gym.spaces.Box, others="DQN or PPO")
        check_bounded(self)
        self._scale = ActionScale(self.action_space)
        actor, critic = self.actor, self.critic
        normalize = self.normalize_observations
        # Features for each network: a layer that both had would be saved with one of them only.
        if actor is None:
            inputs, features = observation_features(self.observation_space, normalize)
            output = keras.layers.Dense(self._scale.size, dtype=last_layer_dtype())
            output = output(MLP((400, 300))(features))
            output = TanhToSpec(self._scale.low, self._scale.high)(output)
            actor = keras.Model(inputs, output, name="actor")
        if critic is None:
            inputs, features = observation_features(self.observation_space, normalize)
            action = keras.Input((self._scale.size,), name="action")
            joint = keras.layers.Concatenate()([features, action])
            value = keras.layers.Dense(1, dtype=last_layer_dtype())(MLP((400, 300))(joint))
            critic = keras.Model([inputs, action], value, name="critic")
        specs = [self.observation_spec, tf.TensorSpec((self._scale.size,), tf.float32)]
        check_network("actor", actor, specs[0], (None, self._scale.size))
        check_network("critic", critic, specs, (None, 1))
        self.actor = self.critic = None  # They are saved in the order in which they are set.
        self.actor, self.target_actor = actor, Target(actor, name="target_actor")
        self.critic, self.target_critic = critic, Target(critic, name="target_critic")

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""
        return {
            "actor_optimizer": self.actor.trainable_variables,
            "critic_optimizer": self.critic.trainable_variables,
        }

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection and target updates."""
        return [
            Collect(env_steps_per_update=1, warmup_steps=10_000),
            TargetUpdate(period=1, step_size=0.005),
        ]

    def policy(self, observation: Any) -> tf.Tensor:
        """Greedy actions, then the standard deviations of the noise, float `[B, 2 * A]`."""
        action = float32(self.actor(observation, training=False))
        std = tf.zeros_like(action) + self.exploration_noise * self._scale.scale
        return tf.concat([action, std], axis=-1)

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions `[B, ...]`."""
        return self._scale.shaped(float32(self.actor(observation, training=False)))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Greedy actions `[B, ...]` with noise, clipped to the bounds."""
        action, std = np.split(output, 2, axis=-1)
        return self._scale.shaped(action + std * rng.standard_normal(action.shape, np.float32))

    def feed(self, observation: Any, action: tf.Tensor) -> None:
        """Calls the actor and the critic."""
        super().feed(observation, action)
        self.critic([observation, self._scale.to_unit(action)], training=False)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critic and the actor."""
        critic_loss, q_tm1, td_error, of_critic = self._update_critic(batch)
        actor_loss, of_actor = self._update_actor(batch["observation"])
        self.target_critic.update(self.critic, self.optimizer.iterations)
        self.target_actor.update(self.actor, self.optimizer.iterations)
        return self.track(
            loss=critic_loss + actor_loss,
            critic_loss=critic_loss,
            actor_loss=actor_loss,
            q_value=tf.reduce_mean(q_tm1),
            td_error=tf.reduce_mean(tf.abs(td_error)),
            regularization_loss=of_critic + of_actor,
        )

    def _update_critic(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        action_tm1 = self._scale.to_unit(batch["action"])
        action_t = self._scale.to_unit(self.target_actor(batch["next_observation"]))
        q_t = self.target_critic([batch["next_observation"], action_t])  # [B, 1]
        target = losses.td_target(
            batch["reward"], self.discount * batch["discount"], tf.squeeze(q_t, axis=-1)
        )
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            q_tm1 = tf.squeeze(q_tm1, axis=-1)
            layer_loss = self.layer_loss(self.critic)
            error = target - q_tm1
            loss = tf.reduce_mean(losses.l2(error)) + layer_loss
        self.minimize(loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        return loss, q_tm1, error, layer_loss

    def _update_actor(self, observation: Any) -> tuple[tf.Tensor, Any]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.actor.trainable_variables)
            action = self._scale.to_unit(self.actor(observation, training=True))
            layer_loss = self.layer_loss(self.actor)
            with tf.GradientTape(watch_accessed_variables=False) as action_tape:
                action_tape.watch(action)
                q = float32(self.critic([observation, action], training=False))
            dqda = gradient(action_tape, q, action, self.actor_optimizer)
            loss = tf.reduce_mean(losses.dpg_loss(action, dqda, self.dqda_clipping)) + layer_loss
        self.minimize(loss, tape, self.actor.trainable_variables, self.actor_optimizer)
        return layer_loss - tf.reduce_mean(q), layer_loss

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        return {
            **super().get_config(),
            "actor": keras.saving.serialize_keras_object(self.actor),
            "critic": keras.saving.serialize_keras_object(self.critic),
            "exploration_noise": self.initial_noise,
            "dqda_clipping": self.dqda_clipping,
            "normalize_observations": self.normalize_observations,
        }
