"""A run of `Agent.fit`: its state, its environments and its replay, opened and closed."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import envs
from kerasrl.errors import AgentStateError, ArgumentError
from kerasrl.replay import Uniform, transition_spec

_starting = threading.Lock()


@dataclasses.dataclass
class Run:
    """What a running `fit` offers to callbacks, as `self.model.run`.

    Args:
        environments: `Environments` to collect in; None when training on a dataset.
        replay: the open replay; None when training on a dataset.
        seed: int or None, as given to `fit`.
        env_steps: int or None, the budget of environment steps.
        evaluates_in_training_environment: bool, whether an evaluation leaves the environments in
            the middle of another episode.
    """

    environments: Any = None
    replay: Any = None
    seed: int | None = None
    env_steps: int | None = None
    evaluates_in_training_environment: bool = False


@contextlib.contextmanager
def running(agent: keras.Model, run: Run) -> Iterator[contextlib.ExitStack]:
    """Marks the agent as being fitted, and closes what the run has opened, whatever happens."""
    if not is_compiled(agent):
        raise AgentStateError(
            f"{type(agent).__name__} must be compiled before fit. Call compile() first."
        )
    with _starting:
        if agent.run is not None:
            raise AgentStateError("fit is already running on this agent; wait for it to end.")
        agent.run = run
    try:
        with contextlib.ExitStack() as resources:
            yield resources
    finally:
        agent.run = None


def is_compiled(agent: keras.Model) -> bool:
    """Whether `compile` was called."""
    return getattr(agent, "optimizer", None) is not None


def seed_everything(agent: keras.Model, seed: int | None) -> None:
    """Seeds Python, NumPy, TensorFlow and the agent's own noise; does nothing for None."""
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ArgumentError(f"seed must be an int >= 0 or None; received {seed!r}.")
        keras.utils.set_random_seed(seed)
        agent.reseed(seed)


def open_environments(
    agent: keras.Model, run: Run, resources: contextlib.ExitStack, x: Any, num_envs: int
) -> None:
    """Makes the environments and builds the agent for them."""
    run.environments = envs.make(x, num_envs)
    resources.callback(run.environments.close)
    agent.build(run.environments.spec)


def open_replay(
    agent: keras.Model,
    run: Run,
    resources: contextlib.ExitStack,
    replay: Uniform | None,
    batch_size: int,
) -> tf.data.Dataset:
    """Opens the replay and returns its dataset; one made here is closed with the run."""
    check_positive("batch_size", batch_size)
    replicas = agent.distribute_strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ArgumentError(
            f"batch_size counts all replicas and must be a multiple of their number, {replicas}; "
            f"received {batch_size}."
        )
    run.replay = agent.default_replay() if replay is None else replay
    if replay is None:
        resources.callback(run.replay.close)
    run.replay.open(transition_spec(run.environments.spec), run.seed)
    return run.replay.dataset(batch_size)


def check_positive(name: str, value: Any) -> None:
    """Raises `ArgumentError` unless `value` is a positive int."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ArgumentError(f"{name} must be a positive int; received {value!r}.")
