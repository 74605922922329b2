"""What `Agent.fit` puts together: environments, replay, callbacks, and the length of a run."""

import contextlib
import dataclasses
import math
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import envs
from kerasrl.callbacks import Collect, Evaluation
from kerasrl.errors import AgentStateError, ArgumentError, SpaceError
from kerasrl.replay import Uniform, transition_spec

_DEFAULT_STEPS_PER_EPOCH = 1_000
_DEFAULT_EPOCHS_OF_BUDGET = 10
_EVALUATION_SEED_OFFSET = 1_000_000
_LOGGED_AS_IS = (
    "env_steps",
    "env_steps_per_second",
    "episode_return",
    "episode_length",
    "val_episode_return",
    "val_episode_length",
)
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


def spec_of(agent: keras.Model, env: Any) -> envs.EnvSpec:
    """The spec of whatever `Agent.build` was given."""
    if isinstance(env, tf.TensorShape | list | tuple | dict):
        raise AgentStateError(
            f"{type(agent).__name__} is not built: its networks depend on the environment's "
            "spaces. Call fit(env), or build(env) first."
        )
    if isinstance(env, envs.EnvSpec):
        return env
    with contextlib.closing(envs.make(env)) as environments:
        return environments.spec


def check_same_spaces(agent: keras.Model, spec: envs.EnvSpec) -> None:
    """Raises `SpaceError` unless `spec` is what the agent was built for."""
    built = _built_spec(agent)
    if spec != built:
        raise SpaceError(
            f"this agent was built for observations {built.observation_space} and actions "
            f"{built.action_space}; received an environment with {spec.observation_space} and "
            f"{spec.action_space}. Make another agent for it."
        )


def _built_spec(agent: keras.Model) -> envs.EnvSpec:
    return envs.EnvSpec(agent.observation_space, agent.action_space)


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
    if not agent.built and env is None:
        raise AgentStateError(
            f"{type(agent).__name__} cannot tell the spaces from a dataset. Call build(env) "
            "first, or give validation_data an environment."
        )
    if env is not None:
        agent.build(env)
    dataset = _checked_batches(dataset, transition_spec(_built_spec(agent)))
    options = tf.data.Options()
    options.autotune.enabled = False  # Its thread holds up the end of a run by up to a minute.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


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


def all_callbacks(
    agent: keras.Model,
    run: Run,
    resources: contextlib.ExitStack,
    given: list[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """Adds the agent's own callbacks, and puts those first that others read the logs of."""
    if sum(isinstance(callback, Collect) for callback in given) > 1:
        raise ArgumentError("callbacks holds more than one Collect; a run has one. Leave one out.")
    own = [
        callback
        for callback in agent.default_callbacks()
        if not any(_replaces(other, callback) for other in given)
    ]
    if run.environments is None:
        own = [callback for callback in own if not isinstance(callback, Collect)]
    listed = sorted([*own, *given], key=_rank)
    if run.environments is not None and not any(isinstance(c, Collect) for c in listed):
        raise ArgumentError(
            f"{type(agent).__name__} has no Collect to act in the environments with. Return one "
            "from default_callbacks(), or pass one in callbacks."
        )
    for callback in listed:
        if hasattr(callback, "close"):
            resources.callback(callback.close)
    return listed


def _replaces(callback: keras.callbacks.Callback, own: keras.callbacks.Callback) -> bool:
    same_weight = getattr(callback, "weight", None) == getattr(own, "weight", None)
    return isinstance(callback, type(own)) and same_weight


def _rank(callback: keras.callbacks.Callback) -> int:
    return 0 if isinstance(callback, Evaluation) else 1 if isinstance(callback, Collect) else 2


def check_shared(run: Run, x: Any, listed: list[keras.callbacks.Callback]) -> None:
    """Warns when evaluations take place in the very environment that is trained on."""
    given = isinstance(x, gym.Env | gym.vector.VectorEnv)
    if given and any(isinstance(c, Evaluation) and c.env is x for c in listed):
        run.evaluates_in_training_environment = True
        warnings.warn(
            "validation_data is the environment that is trained on: evaluating breaks off the "
            "episode that is being collected. Give it an environment of its own.",
            stacklevel=3,
        )


def evaluation(env: Any, every_epochs: int, seed: int | None) -> list[Any]:
    """The `Evaluation` that `validation_data` stands for, if any."""
    if env is None:
        return []
    seed = None if seed is None else seed + _EVALUATION_SEED_OFFSET
    return [Evaluation(env, every_epochs=every_epochs, seed=seed)]


def length(
    run: Run,
    listed: list[keras.callbacks.Callback],
    epochs: int | None,
    steps_per_epoch: int | None,
    initial_epoch: int,
) -> tuple[int, int | None]:
    """Resolves `(epochs, steps_per_epoch)` by the rule that `Agent.fit` states."""
    for name, value in (("steps_per_epoch", steps_per_epoch), ("env_steps", run.env_steps)):
        if value is not None:
            check_positive(name, value)
    if run.environments is None:
        return epochs if epochs is not None else initial_epoch + 1, steps_per_epoch
    if run.env_steps is None:
        epochs = epochs if epochs is not None else initial_epoch + 1
        return epochs, steps_per_epoch or _DEFAULT_STEPS_PER_EPOCH
    if epochs is not None and steps_per_epoch is not None:
        raise ArgumentError(
            f"env_steps={run.env_steps}, epochs={epochs} and steps_per_epoch={steps_per_epoch} "
            "say twice how long to train. Leave one of them out."
        )
    updates = _updates(run, run.env_steps, listed)
    if steps_per_epoch is not None:
        return initial_epoch + math.ceil(updates / steps_per_epoch), steps_per_epoch
    epochs = epochs if epochs is not None else initial_epoch + _DEFAULT_EPOCHS_OF_BUDGET
    check_positive("epochs - initial_epoch", epochs - initial_epoch)
    return epochs, math.ceil(updates / (epochs - initial_epoch))


def _updates(run: Run, env_steps: int, listed: list[keras.callbacks.Callback]) -> int:
    """Gradient steps that a budget of environment steps allows."""
    collect = next(callback for callback in listed if isinstance(callback, Collect))
    warmup = collect.warm_up_due(run.replay)
    updates = math.ceil((env_steps - warmup) / collect.env_steps_per_update)
    if updates < 1:
        raise ArgumentError(
            f"env_steps={env_steps} leaves nothing to train on after a warm-up of {warmup} "
            "steps. Raise it, or pass Collect(warmup_steps=...) with fewer."
        )
    return updates


def keras_callbacks(
    agent: keras.Model,
    listed: list[keras.callbacks.Callback],
    epochs: int,
    steps_per_epoch: int | None,
    verbose: int,
) -> keras.callbacks.CallbackList:
    """Makes Keras's list, with a progress bar that shows our figures as they are."""
    if verbose and not any(isinstance(c, keras.callbacks.ProgbarLogger) for c in listed):
        listed = [*listed, keras.callbacks.ProgbarLogger("steps", _LOGGED_AS_IS)]
    keras_list = keras.callbacks.CallbackList(
        listed, add_history=True, model=agent, verbose=verbose, epochs=epochs, steps=steps_per_epoch
    )
    keras_list._check_timing = False  # Collecting is meant to take longer than an update.
    return keras_list


def deserialize(config: dict[str, Any], custom_objects: Any = None) -> dict[str, Any]:
    """Makes the objects in a config whose values Keras has serialized."""
    return {
        key: keras.saving.deserialize_keras_object(value, custom_objects)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
    }


def verbosity(verbose: str | int) -> int:
    """Resolves "auto" as Keras does."""
    if verbose not in (0, 1, 2, "auto"):
        raise ArgumentError(f'verbose must be 0, 1, 2 or "auto"; received {verbose!r}.')
    if verbose == "auto":
        return 1 if keras.utils.is_interactive_logging_enabled() else 2
    return int(verbose)


def check_positive(name: str, value: Any) -> None:
    """Raises `ArgumentError` unless `value` is a positive int."""
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ArgumentError(f"{name} must be a positive int; received {value!r}.")
