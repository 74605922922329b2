"""Training on a dataset: what `Agent.fit` does with a `tf.data.Dataset`."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.agents.building import built_spec
from kerasrl.errors import AgentStateError, ArgumentError
from kerasrl.replay import Queue, transition_spec
from kerasrl.replay.dataset import pipeline_options


def check_offline(**arguments: Any) -> None:
    """Raises `ArgumentError` for arguments that mean nothing when training on a dataset."""
    for name, value in arguments.items():
        if value is not None:
            raise ArgumentError(
                f"{name} means nothing when training on a tf.data.Dataset, which has its own "
                f"batches and needs no environment; received {value!r}. Leave it out."
            )


def offline_dataset(agent: keras.Model, dataset: tf.data.Dataset, env: Any) -> tf.data.Dataset:
    """Prepares a user's dataset; the spaces come from an earlier build or from `env`."""
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
    if env is not None:
        agent.build(env)
    dataset = _checked_batches(dataset, transition_spec(built_spec(agent)))
    return dataset.with_options(pipeline_options())


def _checked_batches(dataset: tf.data.Dataset, spec: dict[str, Any]) -> tf.data.Dataset:
    """Checks the names in a dataset's batches, and casts what NumPy makes float64 of."""
    element = dataset.element_spec
    if not isinstance(element, dict) or not set(spec) <= set(element):
        received = sorted(element) if isinstance(element, dict) else element
        raise ArgumentError(
            f"a dataset must yield dicts with {sorted(spec)}, each batched; received {received}."
        )
    return dataset.map(
        lambda batch: {
            **batch,
            "reward": tf.cast(batch["reward"], tf.float32),
            "discount": tf.cast(batch["discount"], tf.float32),
        }
    )
