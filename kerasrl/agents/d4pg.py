"""Distributed distributional deep deterministic policy gradient."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.action_scale import ActionScale
from kerasrl.agents.agent import Agent
from kerasrl.arguments import not_negative, positive, real, whole
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.errors import ArgumentError, NetworkError
from kerasrl.networks import (
    CriticMultiplexer,
    DiscreteValuedHead,
    LayerNormMLP,
    NearZeroInitializedDense,
    TanhToSpec,
    Target,
    all_layers,
    last_layer_dtype,
    observation_features,
)
from kerasrl.training.checks import check_action_space, check_bounded, check_network
from kerasrl.training.precision import float32, gradient, scale_losses

_ATOMS = (-150.0, 150.0, 51)


@keras.saving.register_keras_serializable("kerasrl")
class D4PG(Agent):
    """Distributional deep deterministic policy gradient, for bounded Box actions.

    DDPG with a critic that learns the distribution of the return, as probabilities of evenly spaced
    atoms, and with n-step returns.

    Unless told otherwise it collects 8 environment steps per update after 1000 random ones,
    explores with Gaussian noise of 0.3 of half the range, sums 5 rewards, copies both targets every
    100 updates, keeps 1 000 000 transitions, and learns from batches of 256 with Adam at 1e-4 and
    gradients clipped to a norm of 40: the settings of Acme's tutorial. Unlike there, the actor's
    gradient is taken after the critic's step, not before, and the actor learns from the
    observations that were acted on, not from those that followed.

    Differs from the paper in sampling uniformly from the replay, and in collecting in this process.
    The critic is given actions rescaled to [-1, 1].

    Args:
        actor: Keras model from a batch of observations to actions `[B, A]` in the environment's
            units; by default a `LayerNormMLP` of 300 and 200 on the flattened observation, and
            `TanhToSpec`.
        critic: Keras model from `[observation, action]` to logits `[B, num_atoms]`; by default a
            `CriticMultiplexer`, a `LayerNormMLP` of 400 and 300, and a `DiscreteValuedHead`.
        v_min: float, the discounted return that the first atom stands for; by default that of the
            `DiscreteValuedHead` in a critic that is given, or else -150. A head that says otherwise
            is an error.
        v_max: float, that of the last one, likewise, or else 150. Returns beyond the two are taken
            for them.
        num_atoms: int, likewise, or else 51.
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
        Barth-Maron et al., "Distributed distributional deterministic policy gradients", 2018,
        https://arxiv.org/abs/1804.08617; Hoffman et al., "Acme: a research framework for
        distributed reinforcement learning", 2020.
    """

    log_names = ("loss", "critic_loss", "actor_loss", "q_value", "td_error")

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        *,
        v_min: float | None = None,
        v_max: float | None = None,
        num_atoms: int | None = None,
        exploration_noise: float = 0.3,
        dqda_clipping: float | None = 1.0,
        normalize_observations: bool = False,
        discount: float = 0.99,
        n_step: int = 5,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(discount=discount, n_step=n_step, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        v_min, v_max, num_atoms = _atoms_of(critic, v_min, v_max, num_atoms)
        v_min, v_max = real("v_min", v_min), real("v_max", v_max)
        if not -np.inf < v_min < v_max < np.inf:
            raise ArgumentError(
                f"v_min must be less than v_max, and both finite; received {v_min} and {v_max}."
            )
        exploration_noise = not_negative("exploration_noise", exploration_noise)
        self.v_min = v_min
        self.v_max = v_max
        self.num_atoms = whole("num_atoms", num_atoms, least=2)
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
        """Sets the optimizers, Adam at 1e-4 with clipped gradients; the rest is as in Keras.

        `agent.optimizer` is the critic's. When Keras's `LearningRateScheduler` or
        `ReduceLROnPlateau` changes its learning rate, those of the others keep their ratio to it.
        `LinearSchedule` reaches one alone, as `"critic_optimizer.learning_rate"`.
        """
        super().compile(
            critic_optimizer or keras.optimizers.Adam(1e-4, global_clipnorm=40.0),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        with self.distribute_strategy.scope():
            self.critic_optimizer = self.optimizer
            self.actor_optimizer = keras.optimizers.get(
                actor_optimizer or keras.optimizers.Adam(1e-4, global_clipnorm=40.0)
            )
        scale_losses(self)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given, and the targets."""
        check_action_space(self, gym.spaces.Box, others="DQN or PPO")
        check_bounded(self)
        self._scale = ActionScale(self.action_space)
        self._atoms = np.linspace(self.v_min, self.v_max, self.num_atoms, dtype=np.float32)
        actor, critic = self.actor, self.critic
        normalize = self.normalize_observations
        # Features for each network: a layer that both had would be saved with one of them only.
        if actor is None:
            inputs, features = observation_features(self.observation_space, normalize)
            output = NearZeroInitializedDense(self._scale.size, dtype=last_layer_dtype())
            output = output(LayerNormMLP((300, 200))(features))
            output = TanhToSpec(self._scale.low, self._scale.high)(output)
            actor = keras.Model(inputs, output, name="actor")
        if critic is None:
            inputs, features = observation_features(self.observation_space, normalize)
            action = keras.Input((self._scale.size,), name="action")
            joint = LayerNormMLP((400, 300))(CriticMultiplexer()([features, action]))
            logits = DiscreteValuedHead(self.v_min, self.v_max, self.num_atoms)(joint)
            critic = keras.Model([inputs, action], logits, name="critic")
        specs = [self.observation_spec, tf.TensorSpec((self._scale.size,), tf.float32)]
        check_network("actor", actor, specs[0], (None, self._scale.size))
        check_network("critic", critic, specs, (None, self.num_atoms))
        self._check_heads(critic)
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
            Collect(env_steps_per_update=8, warmup_steps=1_000),
            TargetUpdate(period=100),
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
        with tf.GradientTape() as critic_tape:
            critic_loss, q_tm1, td_error, of_critic = self._critic_loss(batch)
        actor_variables, critic_variables = self.optimized_variables().values()
        self.minimize(critic_loss, critic_tape, critic_variables, self.critic_optimizer)
        with tf.GradientTape(watch_accessed_variables=False) as actor_tape:
            actor_tape.watch(self.actor.trainable_variables)
            dpg_loss, q, of_actor = self._actor_loss(batch["observation"])
        self.minimize(dpg_loss, actor_tape, actor_variables, self.actor_optimizer)
        self.target_critic.update(self.critic, self.optimizer.iterations)
        self.target_actor.update(self.actor, self.optimizer.iterations)
        actor_loss = of_actor - tf.reduce_mean(q)
        return self.track(
            loss=critic_loss + actor_loss,
            critic_loss=critic_loss,
            actor_loss=actor_loss,
            q_value=tf.reduce_mean(q_tm1),
            td_error=tf.reduce_mean(tf.abs(td_error)),
            regularization_loss=of_critic + of_actor,
        )

    def _critic_loss(self, batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        """The critic's loss, values `[B]` and their errors, and what is its layers'."""
        action_tm1 = self._scale.to_unit(batch["action"])
        action_t = self._scale.to_unit(self.target_actor(batch["next_observation"]))
        logits_t = self.target_critic([batch["next_observation"], action_t])  # [B, N]
        discount = self.discount * batch["discount"]
        logits_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
        layer_loss = self.layer_loss(self.critic)
        td_losses = losses.categorical_td_loss(  # Of [B, N].
            logits_tm1, batch["reward"], discount, logits_t, self._atoms
        )
        q_tm1 = self._mean(logits_tm1)
        # Of the expected values; what is learned are distributions.
        td_error = losses.td_target(batch["reward"], discount, self._mean(logits_t)) - q_tm1
        return tf.reduce_mean(td_losses) + layer_loss, q_tm1, td_error, layer_loss

    def _actor_loss(self, observation: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """What the actor minimises, the values `[B]` of its actions, and what is its layers'."""
        action = self._scale.to_unit(self.actor(observation, training=True))
        layer_loss = self.layer_loss(self.actor)
        with tf.GradientTape(watch_accessed_variables=False) as action_tape:
            action_tape.watch(action)
            q = self._mean(float32(self.critic([observation, action], training=False)))
        dqda = gradient(action_tape, q, action, self.actor_optimizer)
        dpg_losses = losses.dpg_loss(action, dqda, self.dqda_clipping)
        return tf.reduce_mean(dpg_losses) + layer_loss, q, layer_loss

    def _check_heads(self, critic: keras.Model) -> None:
        """Raises `NetworkError` when the critic's own head has other atoms than the agent."""
        for head in _heads(critic):
            if head.atoms.shape != self._atoms.shape or not np.allclose(head.atoms, self._atoms):
                raise NetworkError(
                    f"the critic's {head.name} has {len(head.atoms)} atoms from {head.atoms[0]} to "
                    f"{head.atoms[-1]}, and the agent {self.num_atoms} from {self.v_min} to "
                    f"{self.v_max}. Leave v_min, v_max and num_atoms out to take those of the "
                    "head, or make the head with the agent's."
                )

    def _mean(self, logits: tf.Tensor) -> tf.Tensor:
        """Expected returns: logits `[B, N]` to `[B]`."""
        return tf.linalg.matvec(tf.nn.softmax(logits), self._atoms)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        return {
            **super().get_config(),
            "actor": keras.saving.serialize_keras_object(self.actor),
            "critic": keras.saving.serialize_keras_object(self.critic),
            "v_min": self.v_min,
            "v_max": self.v_max,
            "num_atoms": self.num_atoms,
            "exploration_noise": self.initial_noise,
            "dqda_clipping": self.dqda_clipping,
            "normalize_observations": self.normalize_observations,
        }


def _heads(critic: Any) -> list[DiscreteValuedHead]:
    return [each for each in all_layers(critic) if isinstance(each, DiscreteValuedHead)]


def _atoms_of(critic: Any, *given: Any) -> tuple[Any, ...]:
    """`v_min`, `v_max` and `num_atoms`, those not given from the critic's head if it has one."""
    heads = [] if critic is None else _heads(critic)
    own = (heads[0].minimum, heads[0].maximum, heads[0].num_atoms) if heads else _ATOMS
    return tuple(
        default if value is None else value for value, default in zip(given, own, strict=True)
    )
