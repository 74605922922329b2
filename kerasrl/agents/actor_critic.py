"""What agents that learn from rollouts share: their networks, and what they make of a rollout."""

from typing import Any

import gymnasium as gym
import keras
import tensorflow as tf

from kerasrl import losses
from kerasrl.networks import (
    MLP,
    CategoricalActions,
    GaussianActions,
    GaussianHead,
    action_distribution,
    last_layer_dtype,
    observation_features,
)
from kerasrl.training.checks import check_network, check_real


def build_actor(
    agent: keras.Model, actor: Any, units: tuple[int, ...], normalize_observations: bool
) -> tuple[keras.Model, CategoricalActions | GaussianActions]:
    """Makes the default actor unless one was given, and the distribution that it is for."""
    space = agent.action_space
    if isinstance(space, gym.spaces.Box):
        check_real(agent)
    actions = action_distribution(space)
    if actor is None:
        inputs, features = observation_features(agent.observation_space, normalize_observations)
        initializer = keras.initializers.Orthogonal(0.01)
        head: Any
        if isinstance(space, gym.spaces.Box):
            head = GaussianHead(actions.num_parameters // 2, kernel_initializer=initializer)
        else:
            head = keras.layers.Dense(
                actions.num_parameters, kernel_initializer=initializer, dtype=last_layer_dtype()
            )
        actor = keras.Model(inputs, head(_torso(units)(features)), name="actor")
    check_network("actor", actor, agent.observation_spec, (None, actions.num_parameters))
    return actor, actions


def build_critic(
    agent: keras.Model, critic: Any, units: tuple[int, ...], normalize_observations: bool
) -> keras.Model:
    """Makes the default critic unless one was given."""
    if critic is None:
        inputs, features = observation_features(agent.observation_space, normalize_observations)
        initializer = keras.initializers.Orthogonal(1.0)
        head = keras.layers.Dense(1, kernel_initializer=initializer, dtype=last_layer_dtype())
        critic = keras.Model(inputs, head(_torso(units)(features)), name="critic")
    check_network("critic", critic, agent.observation_spec, (None, 1))
    return critic


def _torso(units: tuple[int, ...]) -> MLP:
    return MLP(units, "tanh", kernel_initializer=keras.initializers.Orthogonal(2**0.5))


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
