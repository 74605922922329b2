"""Distributed distributional deep deterministic policy gradient."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.continuous import DeterministicAgent
from kerasrl.arguments import not_negative, positive, real, whole
from kerasrl.callbacks import Collect, TargetUpdate
from kerasrl.errors import ArgumentError
from kerasrl.networks import (
    CriticMultiplexer,
    DiscreteValuedHead,
    LayerNormMLP,
    NearZeroInitializedDense,
    TanhToSpec,
    last_layer_dtype,
)
from kerasrl.training.checks import atoms_of, check_atoms
from kerasrl.training.precision import float32, gradient


@keras.saving.register_keras_serializable("kerasrl")
class D4PG(DeterministicAgent):
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

    resolved_arguments = ("v_min", "v_max", "num_atoms")

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
        super().__init__(
            actor, critic, normalize_observations, discount, n_step, reward_scale, name
        )
        noise = not_negative("exploration_noise", exploration_noise)
        self.exploration_noise = self.setting("exploration_noise", noise)
        self.dqda_clipping = positive("dqda_clipping", dqda_clipping, optional=True)
        own = atoms_of(critic) or (-150.0, 150.0, 51)
        self.v_min = real("v_min", own[0] if v_min is None else v_min)
        self.v_max = real("v_max", own[1] if v_max is None else v_max)
        if not -np.inf < self.v_min < self.v_max < np.inf:
            raise ArgumentError(
                f"v_min must be less than v_max, and both finite; received {self.v_min} and "
                f"{self.v_max}."
            )
        num_atoms = own[2] if num_atoms is None else num_atoms
        self.num_atoms = self.critic_outputs = whole("num_atoms", num_atoms, least=2)
        self._atoms = np.linspace(self.v_min, self.v_max, self.num_atoms, dtype=np.float32)

    def default_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam at 1e-4 with clipped gradients."""
        return keras.optimizers.Adam(1e-4, global_clipnorm=40.0)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given, and the targets."""
        super().build_networks()
        check_atoms(self, self.critic, self._atoms)

    def actor_output(self, features: Any) -> Any:
        """Keras tensor `[B, A]` of the default actor, within the bounds."""
        output = NearZeroInitializedDense(self._scale.size, dtype=last_layer_dtype())
        output = output(LayerNormMLP((300, 200))(features))
        return TanhToSpec(self._scale.low, self._scale.high)(output)

    def critic_output(self, features: Any, action: Any) -> Any:
        """Keras tensor `[B, num_atoms]` of the default critic."""
        joint = LayerNormMLP((400, 300))(CriticMultiplexer()([features, action]))
        return DiscreteValuedHead(self.v_min, self.v_max, self.num_atoms)(joint)

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection and target updates."""
        return [Collect(env_steps_per_update=8, warmup_steps=1_000), TargetUpdate(period=100)]

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step of the critic and the actor."""
        action_t = self._scale.to_unit(self.target_actor(batch["next_observation"]))
        logits_t = self.target_critic([batch["next_observation"], action_t])  # [B, N]
        discount = self.discount * batch["discount"]
        action_tm1 = self._scale.to_unit(batch["action"])
        with tf.GradientTape() as tape:
            logits_tm1 = float32(self.critic([batch["observation"], action_tm1], training=True))
            layer_loss = self.layer_loss(self.critic)
            critic_losses = losses.categorical_td_loss(  # Of [B, N].
                logits_tm1, batch["reward"], discount, logits_t, self._atoms
            )
            critic_loss = self.mean(batch, critic_losses) + layer_loss
        self.minimize(critic_loss, tape, self.critic.trainable_variables, self.critic_optimizer)
        q_tm1 = self._mean(logits_tm1)
        # Of the expected values; what is learned are distributions.
        td_error = losses.td_target(batch["reward"], discount, self._mean(logits_t)) - q_tm1
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
            q = self._mean(float32(self.critic([observation, action], training=False)))
        dqda = gradient(tape, q, action, self.actor_optimizer)
        return losses.dpg_loss(action, dqda, self.dqda_clipping), q

    def _mean(self, logits: tf.Tensor) -> tf.Tensor:
        """Expected returns: logits `[B, N]` to `[B]`."""
        return tf.linalg.matvec(tf.nn.softmax(logits), self._atoms)
