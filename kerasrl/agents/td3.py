"""Twin delayed deep deterministic policy gradient."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.action_scale import ActionScale
from kerasrl.agents.agent import Agent
from kerasrl.arguments import not_negative, whole
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.networks import MLP, TanhToSpec, Target, last_layer_dtype, observation_features, twin
from kerasrl.training.checks import check_action_space, check_bounded, check_network
from kerasrl.training.conditional import update_if
from kerasrl.training.precision import float32, optimizer_variables, scale_losses


@keras.saving.register_keras_serializable("kerasrl")
class TD3(Agent):
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

    log_names = ("loss", "critic_loss", "actor_loss", "q_value", "td_error")

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
        super().__init__(discount=discount, n_step=n_step, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        exploration_noise = not_negative("exploration_noise", exploration_noise)
        self.initial_noise = exploration_noise
        self.target_noise = not_negative("target_noise", target_noise)
        self.target_noise_clip = not_negative("target_noise_clip", target_noise_clip)
        self.policy_delay = whole("policy_delay", policy_delay)
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
        """Makes the default networks unless they were given, the twin, and the targets."""
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
        inputs, features = observation_features(self.observation_space, normalize)
        action = keras.Input((self._scale.size,), name="action")
        if critic is None:
            joint = keras.layers.Concatenate()([features, action])
            value = keras.layers.Dense(1, dtype=last_layer_dtype())(MLP((400, 300))(joint))
            critic = keras.Model([inputs, action], value, name="critic")
        specs = [self.observation_spec, tf.TensorSpec((self._scale.size,), tf.float32)]
        check_network("actor", actor, specs[0], (None, self._scale.size))
        check_network("critic", critic, specs, (None, 1))
        self.actor, self.target_actor = actor, Target(actor, name="target_actor")
        twin_critic = twin(critic, [inputs, action])
        self.critic, self.target_critic = twin_critic, Target(twin_critic, name="target_critic")
        self._critic_name = critic.name

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
            TargetUpdate(period=self.policy_delay, step_size=0.005),
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
        """One step of the critics and, when it is due, the actor."""
        critic_loss, q_tm1, td_error, of_critic = self._update_critic(batch)
        actor_loss, of_actor = self._update_actor_if_due(batch["observation"])
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
        action_t = self._target_action(batch["next_observation"])
        q_t = self.target_critic([batch["next_observation"], action_t])  # [B, 2]
        target = losses.td_target(
            batch["reward"], self.discount * batch["discount"], tf.reduce_min(q_t, axis=-1)
        )
        with tf.GradientTape() as tape:
            q_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            layer_loss = self.layer_loss(self.critic)
            errors = target[:, tf.newaxis] - q_tm1  # [B, 2]
            loss = tf.reduce_mean(tf.reduce_sum(losses.l2(errors), axis=-1)) + layer_loss
        self.minimize(loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        return loss, q_tm1, errors, layer_loss

    def _target_action(self, observation: Any) -> tf.Tensor:
        """The target's actions in [-1, 1] with clipped noise, `[B, A]`."""
        action = self._scale.to_unit(self.target_actor(observation))
        # A dimension that is constant stays so: 0, as in the replay.
        std = self.target_noise * np.sign(self._scale.scale)
        noise = std * self.random_normal(tf.shape(action), salt=0)
        clip = self.target_noise_clip
        return tf.clip_by_value(action + tf.clip_by_value(noise, -clip, clip), -1.0, 1.0)

    def _update_actor_if_due(self, observation: Any) -> tuple[tf.Tensor, tf.Tensor]:
        due = tf.equal(self.optimizer.iterations % self.policy_delay, 0)
        variables = self.actor.trainable_variables
        with tf.init_scope():
            self.actor_optimizer.build(variables)
        changed = [*variables, *optimizer_variables(self.actor_optimizer)]
        figures = update_if(due, lambda: self._update_actor(observation), changed, shape=(2,))
        # So that their means are those of the updates that were due.
        return tuple(tf.unstack(self.policy_delay * figures))

    def _update_actor(self, observation: Any) -> tf.Tensor:
        """The actor's loss, and what of it is its layers'."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.actor.trainable_variables)
            action = self._scale.to_unit(self.actor(observation, training=True))
            layer_loss = self.layer_loss(self.actor)
            q = float32(self.critic([observation, action], training=False))
            loss = layer_loss - tf.reduce_mean(q[:, 0])
        self.minimize(loss, tape, self.actor.trainable_variables, self.actor_optimizer)
        return tf.stack([loss, tf.cast(layer_loss, tf.float32)])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        critic = self.critic.get_layer(self._critic_name) if self.built else self.critic
        return {
            **super().get_config(),
            "actor": keras.saving.serialize_keras_object(self.actor),
            "critic": keras.saving.serialize_keras_object(critic),
            "exploration_noise": self.initial_noise,
            "target_noise": self.target_noise,
            "target_noise_clip": self.target_noise_clip,
            "policy_delay": self.policy_delay,
            "normalize_observations": self.normalize_observations,
        }
