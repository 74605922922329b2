"""Training on a dataset: what `Agent.fit` does with a `tf.data.Dataset`."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import AgentStateError, ArgumentError
from kerasrl.policies import PolicySpec
from kerasrl.replay import Fixed
from kerasrl.replay.fixed import check_columns
from kerasrl.replay.weakly import weakly
from kerasrl.training.building import built_spec


def check_offline(**arguments: Any) -> None:
    """Raises `ArgumentError` for arguments that mean nothing when training on a dataset."""
    for name, value in arguments.items():
        if value is not None:
            raise ArgumentError(
                f"{name} means nothing when training on a tf.data.Dataset, which has its own "
                f"batches and needs no environment; received {value!r}. Leave it out."
            )


class OfflineData(Fixed):
    """A user's dataset as a replay, brought to an agent's spaces; it is open.

    Rewards are scaled, and the agent's normalisers adapt to every batch before it is learned from,
    as they do to what is collected.

    Args:
        agent: the agent; it is built if `env` is there.
        dataset: `tf.data.Dataset` of dicts.
        env: environment to build the agent for, or None.

    Raises:
        AgentStateError: when the spaces are not known.
        ArgumentError: when the agent cannot learn from such batches.
    """

    def __init__(self, agent: keras.Model, dataset: tf.data.Dataset, env: Any = None):
        _check_agent(agent, env)
        if env is not None:
            agent.build(env)
        super().__init__(dataset)
        self._agent = agent
        check_columns(agent.batch_keys, dataset)
        item = item_spec(agent)
        self.open({key: item[key] for key in agent.batch_keys if key in item})

    def prepared(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """What is trained on: all of the batches that `dataset()` gives, or what is left of them.

        Raises:
            ArgumentError: out of the dataset, when an action is not of the agent's space.
        """
        dataset = dataset.map(self._bounded_and_scaled)
        if "observation" in self._agent.batch_keys and self._agent.observation_normalizers:
            dataset = dataset.map(self._adapted)
        return dataset

    def _bounded_and_scaled(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = dict(batch)
        if "action" in self._agent.batch_keys:
            bounds = _bounds(self._agent.action_space)
            batch["action"] = self.within("action", batch["action"], *bounds)
        if "reward" in self._agent.batch_keys and self._agent.reward_scale != 1.0:
            batch["reward"] *= self._agent.reward_scale
        return batch

    def _adapt(self, *leaves: np.ndarray) -> np.bool_:
        if len(leaves[0]):
            nest = built_spec(self._agent).observation
            specs = tf.nest.flatten(nest)  # Sequences have a time axis besides.
            rows = [x.reshape(-1, *spec.shape) for x, spec in zip(leaves, specs, strict=True)]
            self._agent.adapt(tf.nest.pack_sequence_as(nest, rows))
        return np.False_

    def _adapted(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = tf.numpy_function(
            weakly(self._adapt), tf.nest.flatten(batch["observation"]), tf.bool
        )
        with tf.control_dependencies([done]):
            return tf.nest.map_structure(tf.identity, batch)


def without_keys(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The batches without the keys of a replay that is not at work."""
    if "key" not in dataset.element_spec:
        return dataset
    return dataset.map(lambda batch: {k: v for k, v in batch.items() if k != "key"})


def item_spec(agent: keras.Model) -> dict[str, Any]:
    """What the agent learns from, where it collects that itself."""
    state = agent.initial_state()
    state = () if state is None else tf.nest.map_structure(_spec_of, state)
    policy_spec = PolicySpec(state=state, info=agent.info_spec())
    return agent.experience().spec(built_spec(agent), policy_spec)


def _spec_of(array: Any) -> tf.TensorSpec:
    return tf.TensorSpec(np.shape(array), tf.as_dtype(array.dtype))


def _check_agent(agent: keras.Model, env: Any) -> None:
    if agent.default_replay().consumed:
        raise ArgumentError(
            f"{type(agent).__name__} learns from what its own policy has just done, which a "
            "dataset cannot tell. Give it an environment, or use an agent with a replay, such as "
            "DQN or SAC."
        )
    if not agent.built and env is None:
        raise AgentStateError(
            f"{type(agent).__name__} cannot tell the spaces from a dataset. Call build(env) "
            "first, or give validation_data an environment."
        )


def _bounds(space: gym.Space) -> tuple[Any, Any]:
    """The least and the greatest action, `[...]` or scalars."""
    if isinstance(space, gym.spaces.Box):
        return space.low, space.high
    if isinstance(space, gym.spaces.MultiBinary):
        return 0, 1
    discrete: Any = space
    count = discrete.n if isinstance(space, gym.spaces.Discrete) else discrete.nvec
    return discrete.start, discrete.start + count - 1
