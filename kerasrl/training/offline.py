"""Training on a dataset: what `Agent.fit` does with a `tf.data.Dataset`."""

import functools
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.errors import AgentStateError, ArgumentError
from kerasrl.replay import Queue, transition_spec
from kerasrl.replay.dataset import pipeline_options
from kerasrl.replay.server.weakly import weakly
from kerasrl.training import conforming
from kerasrl.training.building import built_spec

_TOLERANCE = 1e-5  # Of the bounds of a Box, for what was rounded.


def check_offline(**arguments: Any) -> None:
    """Raises `ArgumentError` for arguments that mean nothing when training on a dataset."""
    for name, value in arguments.items():
        if value is not None:
            raise ArgumentError(
                f"{name} means nothing when training on a tf.data.Dataset, which has its own "
                f"batches and needs no environment; received {value!r}. Leave it out."
            )


class OfflineData:
    """A user's dataset, brought to the agent's spaces.

    Its batches are checked as far as their specs tell; integers and actions by their values, when
    they come. Rewards are scaled, and the agent's normalisers adapt to every batch before it is
    learned from, as they do to what is collected.

    Args:
        agent: the agent; it is built if `env` is there.
        dataset: `tf.data.Dataset` of dicts.
        env: environment to build the agent for, or None.

    Raises:
        AgentStateError: when the spaces are not known.
        ArgumentError: when the agent cannot learn from such batches.
    """

    def __init__(self, agent: keras.Model, dataset: tf.data.Dataset, env: Any):
        _check_agent(agent, env)
        if env is not None:
            agent.build(env)
        self._agent = agent
        self._failure: ArgumentError | None = None
        transition = transition_spec(built_spec(agent))
        self._spec = {key: transition[key] for key in agent.batch_keys if key in transition}
        self._check_element(dataset.element_spec)

    def prepared(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """What is trained on: the dataset, or what is left of it."""
        dataset = dataset.map(self._prepared)
        if "observation" in self._spec and self._agent.observation_normalizers:
            dataset = dataset.map(self._adapted)
        return dataset.with_options(pipeline_options())

    def failure(self) -> ArgumentError | None:
        """The error behind the TensorFlow error that the dataset ended with, if it is of here."""
        return self._failure

    def _check_element(self, element: Any) -> None:
        keys = self._agent.batch_keys
        if not isinstance(element, dict) or not set(keys) <= set(element):
            received = sorted(element) if isinstance(element, dict) else element
            raise ArgumentError(
                f"a dataset must yield dicts with {sorted(keys)}, each batched; received "
                f"{received}."
            )

        def check(path: str, spec: tf.TensorSpec, value: tf.TensorSpec) -> None:
            if not isinstance(value, tf.TensorSpec):
                raise ArgumentError(f"{path} must be a tensor; received {value}.")
            column = value.shape.rank == 2 and value.shape[-1] == 1 and spec.shape.rank == 0
            conforming.check_batched(path, spec, value.shape[:1] if column else value.shape)
            conforming.check_dtype(path, spec, value.dtype)

        for key, spec in self._spec.items():
            conforming.map_leaves(check, spec, element[key], key)

    def _prepared(self, batch: dict[str, Any]) -> dict[str, Any]:
        made = {
            key: conforming.map_leaves(self._cast, spec, batch[key], key)
            for key, spec in self._spec.items()
        }
        if "action" in made:
            bounds = _bounds(self._agent.action_space)
            made["action"] = self._within("action", made["action"], *bounds)
        if "reward" in made and self._agent.reward_scale != 1.0:
            made["reward"] *= self._agent.reward_scale
        return {**batch, **made}

    def _cast(self, path: str, spec: tf.TensorSpec, value: tf.Tensor) -> tf.Tensor:
        if spec.shape.rank == 0 and value.shape.rank == 2:  # A column.
            value = tf.squeeze(value, axis=-1)
        value = tf.ensure_shape(value, [None, *spec.shape])
        if value.dtype == spec.dtype:
            return value
        if spec.dtype.is_integer and value.dtype.is_integer:
            low, high = max(spec.dtype.min, tf.int64.min), min(spec.dtype.max, tf.int64.max)
            value = self._within(path, value, low, high)
        return tf.cast(value, spec.dtype)

    def _within(self, path: str, value: tf.Tensor, low: Any, high: Any) -> tf.Tensor:
        """Has what is beyond its bounds, or NaN, end the dataset with an error that says so."""
        wide = value if value.dtype.is_floating else tf.cast(value, tf.int64)
        least, most = low, high
        if value.dtype.is_floating:
            least, most = low - _slack(low), high + _slack(high)
        inside = (wide >= tf.constant(least, wide.dtype)) & (wide <= tf.constant(most, wide.dtype))
        refuse = functools.partial(weakly(self._refuse), path, low, high)
        checked = tf.cond(
            tf.reduce_all(inside),
            lambda: False,
            lambda: tf.ensure_shape(tf.numpy_function(refuse, [wide], tf.bool), ()),
        )
        with tf.control_dependencies([checked]):
            return tf.identity(value)

    def _refuse(self, path: str, low: Any, high: Any, values: np.ndarray) -> np.bool_:
        beyond = values[~((values >= low) & (values <= high))]
        worst = beyond[np.abs(beyond).argmax()]  # A NaN, if there is one.
        self._failure = ArgumentError(
            f"{path} of the dataset must be within {np.min(low)} to {np.max(high)}; received "
            f"{worst}. Mend the dataset, or build the agent for other spaces."
        )
        raise self._failure

    def _adapt(self, *leaves: np.ndarray) -> np.bool_:
        if len(leaves[0]):
            self._agent.adapt(tf.nest.pack_sequence_as(self._spec["observation"], leaves))
        return np.False_

    def _adapted(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = tf.numpy_function(
            weakly(self._adapt), tf.nest.flatten(batch["observation"]), tf.bool
        )
        with tf.control_dependencies([done]):
            return tf.nest.map_structure(tf.identity, batch)


def _check_agent(agent: keras.Model, env: Any) -> None:
    if isinstance(agent.default_replay(), Queue):
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


def _slack(bound: np.ndarray) -> np.ndarray:
    """What rounding may add to a bound."""
    return _TOLERANCE * np.maximum(np.where(np.isfinite(bound), np.abs(bound), 0), 1)


def _bounds(space: gym.Space) -> tuple[Any, Any]:
    """The least and the greatest action, `[...]` or scalars."""
    if isinstance(space, gym.spaces.Box):
        return space.low, space.high
    if isinstance(space, gym.spaces.MultiBinary):
        return 0, 1
    discrete: Any = space
    count = discrete.n if isinstance(space, gym.spaces.Discrete) else discrete.nvec
    return discrete.start, discrete.start + count - 1
