"""What agents that learn from rollouts share: their networks, and what they make of a rollout."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import losses
from kerasrl.agents.agent import Agent
from kerasrl.networks import (
    MLP,
    CategoricalActions,
    GaussianActions,
    GaussianHead,
    action_distribution,
    last_layer_dtype,
    observation_features,
)
from kerasrl.replay import Queue
from kerasrl.training.checks import check_network, check_real
from kerasrl.training.precision import float32


class OnPolicyAgent(Agent):
    """The base of agents with an actor that gives a distribution of actions, and mostly a critic.

    A subclass defines `examples`, what is learned from a rollout, and `train_step`. Every agent of
    the family takes the arguments of this constructor.

    Attributes:
        units: tuple of int, hidden layers of the default networks.
        has_critic: bool, whether there is a critic, which is made unless it was given.
    """

    log_names: tuple[str, ...] = ("loss", "policy_loss", "value_loss", "entropy")
    has_critic = True
    default_batch_size: int | None = None
    units: tuple[int, ...] = (64, 64)

    def __init__(
        self,
        actor: keras.Model | None = None,
        critic: keras.Model | None = None,
        normalize_observations: bool = False,
        discount: float = 0.99,
        reward_scale: float = 1.0,
        name: str | None = None,
    ):
        super().__init__(discount=discount, reward_scale=reward_scale, name=name)
        self.actor: Any = actor
        self.critic: Any = critic
        self.normalize_observations = normalize_observations

    def build_networks(self) -> None:
        """Makes the default networks unless they were given."""
        space = self.action_space
        if isinstance(space, gym.spaces.Box):
            check_real(self)
        self._actions = action_distribution(space)
        size = self._actions.num_parameters
        actor = self._network("actor", self._actor_head, self.actor)
        check_network("actor", actor, self.observation_spec, (None, size))
        critic = self.critic
        if self.has_critic:
            critic = self._network("critic", self._critic_head, critic)
            check_network("critic", critic, self.observation_spec, (None, 1))
        self.actor = self.critic = None  # They are saved in the order in which they are set.
        self.actor, self.critic = actor, critic

    def default_replay(self) -> Queue:
        """A queue of rollouts."""
        return Queue()

    def batches(self, replay: Queue, batch_size: int | None) -> tf.data.Dataset:
        """Each rollout `update_epochs` times: whole, or in shuffled minibatches of a batch size."""
        return replay.dataset(self.examples, batch_size, self.update_epochs)

    def examples(self, rollout: dict[str, Any]) -> dict[str, Any]:
        """What is learned from a rollout, all `[T, N, ...]`, see `kerasrl.replay.rollout_spec`."""
        raise NotImplementedError(f"{type(self).__name__} must define examples(rollout).")

    def policy(self, observation: Any) -> tf.Tensor:
        """Parameters of the actions, `[B, P]`, and then the value if there is a critic."""
        parameters = float32(self.actor(observation, training=False))
        if not self.has_critic:
            return parameters
        value = float32(self.critic(observation, training=False))
        return tf.concat([parameters, value], axis=-1)

    def call(self, observation: Any) -> tf.Tensor:
        """Greedy actions `[B, ...]`: the likeliest."""
        return self._actions.mode(float32(self.actor(observation, training=False)))

    def sample(self, observation: Any) -> tf.Tensor:
        """Sampled actions `[B, ...]`, for a Box clipped to its bounds."""
        return self._actions.draw(float32(self.actor(observation, training=False)))

    def distribution(self, observation: Any) -> Any:
        """The distribution of actions that is learned; see `Agent.distribution`."""
        return self._actions.distribution(float32(self.actor(observation, training=False)))

    def explore(self, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sampled actions `[B, ...]`, which for a Box may lie beyond its bounds."""
        return self._actions.sample(output[:, : self._actions.num_parameters], rng)

    def _network(self, name: str, make_head: Any, given: Any) -> keras.Model:
        if given is not None:
            return given
        inputs, features = observation_features(self.observation_space, self.normalize_observations)
        head = make_head()
        torso = MLP(self.units, "tanh", kernel_initializer=keras.initializers.Orthogonal(2**0.5))
        return keras.Model(inputs, head(torso(features)), name=name)

    def _actor_head(self) -> keras.layers.Layer:
        size, initializer = self._actions.num_parameters, keras.initializers.Orthogonal(0.01)
        if isinstance(self.action_space, gym.spaces.Box):
            return GaussianHead(size // 2, kernel_initializer=initializer)
        return keras.layers.Dense(size, kernel_initializer=initializer, dtype=last_layer_dtype())

    def _critic_head(self) -> keras.layers.Layer:
        initializer = keras.initializers.Orthogonal(1.0)
        return keras.layers.Dense(1, kernel_initializer=initializer, dtype=last_layer_dtype())


def actor_critic_examples(
    rollout: dict[str, Any],
    actions: CategoricalActions | GaussianActions,
    discount: float,
    gae_lambda: float,
    normalize_advantages: bool,
) -> dict[str, Any]:
    """Turns a rollout into examples, all `[T, N, ...]`, with what was computed while acting.

    Args:
        rollout: see `kerasrl.replay.rollout_spec`; `policy` holds the parameters of the actions,
            then the value.
        actions: the distribution of the actions.
        discount: float, per step.
        gae_lambda: float in [0, 1].
        normalize_advantages: bool, to mean 0 and standard deviation 1 over the rollout.

    Returns:
        dict of `observation`, `action`, `log_prob` of the action, `value`, `advantage`, `return`
        (the target of the value), `weight` (0 where nothing was learned, 1 on average),
        `env_steps`, and `explained_variance`, which is the rollout's for all its examples.

    Reference:
        Schulman et al., "High-dimensional continuous control using generalized advantage
        estimation", 2016.
    """
    parameters, value = rollout["policy"][..., :-1], rollout["policy"][..., -1]
    # Where an episode terminated the next value is of no episode, and is multiplied by 0.
    advantage = losses.generalized_advantages(
        rollout["reward"],
        discount * rollout["discount"],
        value,
        rollout["next_policy"][..., -1],
        gae_lambda,
        rollout["ended"],
    )
    weight = example_weights(rollout["valid"])
    returns = advantage + value
    return {
        "observation": rollout["observation"],
        "action": rollout["action"],
        "log_prob": actions.log_prob(parameters, rollout["action"]),
        "value": value,
        "advantage": normalize(advantage, weight) if normalize_advantages else advantage,
        "return": returns,
        "weight": weight,
        "env_steps": rollout["env_steps"],
        "explained_variance": tf.zeros_like(value) + explained_variance(value, returns, weight),
    }


def explained_variance(value: tf.Tensor, returns: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """The share of the returns' variance that the values foretell.

    Args:
        value: float `[T, N]`.
        returns: float `[T, N]`.
        weight: float `[T, N]`, which averages 1.

    Returns:
        float scalar: 1 for values that are right but for a constant, 0 or less for those that say
        nothing, and 0 for returns that are all the same.
    """
    variance = _variance(returns, weight)
    left = tf.math.divide_no_nan(_variance(returns - value, weight), variance)
    return tf.where(variance > 0, 1.0 - left, 0.0)


def explained_variance_of(batch: dict[str, Any]) -> tf.Tensor:
    """That of the rollout that a batch is of; of the batch, where its examples do not tell."""
    if "explained_variance" in batch:
        return batch["explained_variance"][0]
    return explained_variance(batch["value"], batch["return"], batch["weight"])


def _variance(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(weight * x)
    return tf.reduce_mean(weight * tf.square(x - mean))


def example_weights(valid: tf.Tensor) -> tf.Tensor:
    """Weights of 0 where `valid` is False, alike elsewhere, and 1 on average; of its shape."""
    valid = tf.cast(valid, tf.float32)
    return tf.math.divide_no_nan(valid, tf.reduce_mean(valid))


def normalize(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Brings `x` to mean 0 and standard deviation 1, weighted with weights that average 1."""
    mean = tf.reduce_mean(weight * x)
    variance = tf.reduce_mean(weight * tf.square(x - mean))
    return (x - mean) / (tf.sqrt(variance) + 1e-8)
