"""REINFORCE."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.actor_critic import build_actor, build_critic, example_weights, normalize
from kerasrl.agents.agent import Agent
from kerasrl.arguments import real
from kerasrl.callbacks import CollectEpisodes
from kerasrl.replay import Queue
from kerasrl.training.precision import float32, scale_losses


@keras.saving.register_keras_serializable("kerasrl")
class REINFORCE(Agent):
    """Monte Carlo policy gradient on whole episodes, for Discrete, MultiDiscrete and Box actions.

    Unless told otherwise it takes one step on every two episodes, of up to 1000 steps each, with
    Adam at 1e-3. A Box has Gaussian actions, which are clipped for the environment, with standard
    deviations that do not depend on the observation; -1 and 1 stand for finite bounds, see
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

    log_names = ("loss", "policy_loss", "value_loss", "entropy")
    default_batch_size = None
    update_epochs = 1

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
        super().__init__(discount=discount, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        self.baseline = baseline or critic is not None
        self.normalize_returns = normalize_returns
        self.entropy_cost = real("entropy_cost", entropy_cost)
        self.value_cost = real("value_cost", value_cost)
        self.normalize_observations = normalize_observations

    def compile(
        self,
        optimizer: Any = None,
        *,
        steps_per_execution: int = 1,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
    ) -> None:
        """Sets the optimizer, Adam at 1e-3 by default; the rest is as in Keras.

        `steps_per_execution` must be 1, as episodes are collected before every update.
        """
        super().compile(
            optimizer or keras.optimizers.Adam(1e-3),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        scale_losses(self)

    def build_networks(self) -> None:
        """Makes the default networks unless they were given."""
        options = ((100,), self.normalize_observations)
        actor, self._actions = build_actor(self, self.actor, *options)
        critic = build_critic(self, self.critic, *options) if self.baseline else self.critic
        self.actor = self.critic = None  # They are saved in the order in which they are set.
        self.actor, self.critic = actor, critic

    def default_callbacks(self) -> list[keras.callbacks.Callback]:
        """Collection."""
        return [CollectEpisodes(episodes=2, max_steps=1_000)]

    def default_replay(self) -> Queue:
        """A queue of episodes."""
        return Queue()

    def batches(self, replay: Queue, batch_size: int | None) -> tf.data.Dataset:
        """The episodes of an update, once."""
        return replay.dataset(self.examples, batch_size, self.update_epochs)

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

    def policy(self, observation: Any) -> tf.Tensor:
        """Parameters of the actions, `[B, P]`, and then the value if there is a baseline."""
        parameters = float32(self.actor(observation, training=False))
        if not self.baseline:
            return parameters
        value = float32(self.critic(observation, training=False))
        return tf.concat([parameters, value], axis=-1)

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions `[B, ...]`: the likeliest."""
        return self._actions.mode(float32(self.actor(observation, training=False)))

    def sample(self, observation: Any) -> tf.Tensor:
        """Sampled actions `[B, ...]`, for a Box clipped to its bounds."""
        return self._actions.draw(float32(self.actor(observation, training=False)))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sampled actions `[B, ...]`, which for a Box may lie beyond its bounds."""
        return self._actions.sample(output[:, : self._actions.num_parameters], rng)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One step on the episodes of an update."""
        weight = batch["weight"]
        with tf.GradientTape() as tape:
            parameters = float32(self.actor(batch["observation"], training=True))
            log_prob = self._actions.log_prob(parameters, batch["action"])
            policy_losses = losses.policy_gradient_loss(log_prob, batch["advantage"])
            policy_loss = tf.reduce_mean(weight * policy_losses)
            entropy = tf.reduce_mean(weight * self._actions.entropy(parameters))
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
        return tf.reduce_mean(batch["weight"] * losses.l2(batch["return"] - v_tm1))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        config = super().get_config()
        del config["n_step"]
        critic = keras.saving.serialize_keras_object(self.critic) if self.baseline else None
        return {
            **config,
            "actor": keras.saving.serialize_keras_object(self.actor),
            "critic": critic,
            "baseline": self.baseline,
            "normalize_returns": self.normalize_returns,
            "entropy_cost": self.entropy_cost,
            "value_cost": self.value_cost,
            "normalize_observations": self.normalize_observations,
        }
