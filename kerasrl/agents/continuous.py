"""What agents for bounded Box actions share: an actor, a critic or two, and their targets."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.agents.agent import Agent
from kerasrl.compatibility import raw
from kerasrl.networks import (
    MLP,
    ActionScale,
    TanhToSpec,
    Target,
    last_layer_dtype,
    observation_features,
    twin,
)
from kerasrl.training.checks import check_action_space, check_bounded, check_network
from kerasrl.training.precision import float32


class ContinuousAgent(Agent):
    """The base of agents with an actor, and a critic of actions rescaled to [-1, 1].

    A subclass defines `policy`, `call`, `explore` and `train_step`, and says with class attributes,
    or the methods `actor_output` and `critic_output`, what its default networks are like. Every
    agent of the family takes the arguments of this constructor.

    Attributes:
        units: tuple of int, hidden layers of the default networks.
        actor_outputs: int, numbers that the actor gives for each dimension of an action.
        critic_outputs: int, numbers that the critic gives for an action.
        twin_critics: bool, whether the critic is made two; `critic` then gives `[B, 2]`.
        default_learning_rate: float, that of Adam, for optimizers that are not given.
        actor_has_target: bool, whether there is a `target_actor` besides the `target_critic`.
    """

    units: tuple[int, ...] = (400, 300)
    default_learning_rate = 1e-3
    actor_outputs = 1
    critic_outputs = 1
    twin_critics = False
    actor_has_target = True

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        normalize_observations: bool = False,
        discount: float = 0.99,
        n_step: int = 1,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(discount=discount, n_step=n_step, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        self.normalize_observations = normalize_observations

    def compile(
        self,
        actor_optimizer: Any = None,
        critic_optimizer: Any = None,
        *,
        steps_per_execution: int | str = "auto",
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizers, by default the agent's own; the rest is as in Keras.

        `agent.optimizer` is the critic's. When Keras's `LearningRateScheduler` or
        `ReduceLROnPlateau` changes its learning rate, those of the others keep their ratio to it.
        `LinearSchedule` reaches one alone, as `"critic_optimizer.learning_rate"`.
        """
        optimizers = {"critic_optimizer": critic_optimizer, "actor_optimizer": actor_optimizer}
        self.compile_optimizers(optimizers, steps_per_execution, jit_compile, run_eagerly)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam at `default_learning_rate`."""
        return keras.optimizers.Adam(self.default_learning_rate)

    def optimized_variables(self) -> dict[str, list[tf.Variable]]:
        """The variables that each of `compile`'s optimizers changes, by the argument's name."""
        return {
            "actor_optimizer": self.actor.trainable_variables,
            "critic_optimizer": self.critic.trainable_variables,
        }

    def build_networks(self) -> None:
        """Makes the default networks unless they were given, the twin, and the targets."""
        check_action_space(self, gym.spaces.Box, others="DQN or PPO")
        check_bounded(self)
        self._scale = ActionScale(self.action_space)
        actor, critic = self.actor, self.critic
        # Features for each network: a layer that both had would be saved with one of them only.
        if actor is None:
            observation, features = self._features()
            actor = keras.Model(observation, self.actor_output(features), name="actor")
        observation, features = self._features()
        action = keras.Input((self._scale.size,), name="action")
        inputs = [observation, action]
        if critic is None:
            critic = keras.Model(inputs, self.critic_output(features, action), name="critic")
        specs = [self.observation_spec, tf.TensorSpec((self._scale.size,), tf.float32)]
        check_network("actor", actor, specs[0], (None, self.actor_outputs * self._scale.size))
        check_network("critic", critic, specs, (None, self.critic_outputs))
        target_actor: Any = Target(actor, name="target_actor") if self.actor_has_target else None
        self._critic_name = critic.name
        critic = twin(critic, inputs) if self.twin_critics else critic
        target_critic = Target(critic, name="target_critic")
        self.actor = self.critic = None  # They are saved in the order in which they are set.
        self.actor, self.target_actor = actor, target_actor
        self.critic, self.target_critic = critic, target_critic

    def actor_output(self, features: Any) -> Any:
        """Keras tensor `[B, actor_outputs * A]` of the default actor, from features `[B, D]`."""
        head = keras.layers.Dense(self.actor_outputs * self._scale.size, dtype=last_layer_dtype())
        return head(MLP(self.units)(features))

    def critic_output(self, features: Any, action: Any) -> Any:
        """Keras tensor `[B, 1]` of the default critic, from features and an action `[B, A]`."""
        joint = keras.layers.Concatenate()([features, action])
        return keras.layers.Dense(1, dtype=last_layer_dtype())(MLP(self.units)(joint))

    def feed(self, observation: Any, action: tf.Tensor) -> None:
        """Calls the actor and the critic."""
        super().feed(observation, action)
        self.critic([observation, self._scale.to_unit(action)], training=False)

    def _features(self) -> tuple[Any, Any]:
        return observation_features(self.observation_space, self.normalize_observations)

    def network_of(self, argument: str) -> keras.layers.Layer | None:
        """The network that stands for an argument: of two critics the one that was given."""
        network: Any = super().network_of(argument)
        if argument == "critic" and self.twin_critics and self.built:
            return network.get_layer(self._critic_name)  # The one that the other is a twin of.
        return network


class DeterministicAgent(ContinuousAgent):
    """The base of those whose actor gives one action, to which noise is added to explore.

    A subclass defines `actor_loss`, and sets `exploration_noise`, a `setting`: the standard
    deviation of the noise, where 1 is half the range of actions.
    """

    log_names = ("loss", "critic_loss", "actor_loss", "q_value", "td_error")
    exploration_noise: tf.Variable

    def actor_output(self, features: Any) -> Any:
        """Keras tensor `[B, A]` of the default actor, within the bounds."""
        output = super().actor_output(features)
        return TanhToSpec(self._scale.low, self._scale.high)(output)

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

    def actor_loss(self, observation: Any, action: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the actor minimises, for its own actions in [-1, 1], `[B, A]`.

        Returns:
            float `[B]`; and float `[B]` or `[B, 1]`, the values of the actions.
        """
        raise NotImplementedError(f"{type(self).__name__} must define actor_loss.")

    def update_actor(self, batch: dict[str, Any]) -> tuple[tf.Tensor, Any]:
        """Takes one step of the actor down its loss.

        Returns:
            float32 scalars: minus the mean value of its actions, with its layers' losses; and
            these alone.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([raw(weight) for weight in self.actor.trainable_variables])
            action = self._scale.to_unit(self.actor(batch["observation"], training=True))
            layer_loss = self.layer_loss(self.actor)
            actor_losses, q = self.actor_loss(batch["observation"], action)
            loss = self.mean(batch, actor_losses) + layer_loss
        self.minimize(loss, tape, self.actor.trainable_variables, self.actor_optimizer)
        return layer_loss - tf.reduce_mean(q), layer_loss
