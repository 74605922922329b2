"""The callbacks of a run: the agent's own, the user's, and Keras's."""

import contextlib
import warnings
from typing import Any

import gymnasium as gym
import keras

from kerasrl.agents.fitting import Run
from kerasrl.callbacks import Evaluation, StepsPerSecond, Video
from kerasrl.callbacks.collector import Collector
from kerasrl.errors import ArgumentError

_EVALUATION_SEED_OFFSET = 1_000_000
_LOGGED_AS_IS = (
    "env_steps",
    "env_steps_per_second",
    "episode_return",
    "episode_length",
    "steps_per_second",
    "val_episode_return",
    "val_episode_return_std",
    "val_episode_length",
)


def all_callbacks(
    agent: keras.Model,
    run: Run,
    resources: contextlib.ExitStack,
    given: list[keras.callbacks.Callback],
) -> list[keras.callbacks.Callback]:
    """Adds the agent's own callbacks, and puts those first that others read the logs of."""
    own = [
        callback
        for callback in agent.default_callbacks()
        if not any(_replaces(other, callback) for other in given)
    ]
    if run.environments is None:
        own = [callback for callback in own if not isinstance(callback, Collector)]
    listed = sorted([*own, *given], key=_rank)
    if run.environments is not None:
        _check_collectors(agent, [c for c in listed if isinstance(c, Collector)])
    run.callbacks = listed
    for callback in listed:
        if hasattr(callback, "close"):
            resources.callback(callback.close)
    return listed


def _check_collectors(agent: keras.Model, collectors: list[Collector]) -> None:
    if len(collectors) != 1:
        names = [type(collector).__name__ for collector in collectors]
        own = [type(c).__name__ for c in agent.default_callbacks() if isinstance(c, Collector)]
        raise ArgumentError(
            f"a run needs one callback that collects, and {type(agent).__name__} collects with "
            f"{own or 'one that you pass'}; received {names}. Pass one of that class, or none."
        )


def _replaces(callback: keras.callbacks.Callback, own: keras.callbacks.Callback) -> bool:
    same_weight = getattr(callback, "weight", None) == getattr(own, "weight", None)
    return isinstance(callback, type(own)) and same_weight


def _rank(callback: keras.callbacks.Callback) -> int:
    """First what has environments that may be wrong, then what logs, then what reads the logs."""
    order = (Evaluation | Video, Collector, StepsPerSecond)
    ranks = (rank for rank, kind in enumerate(order) if isinstance(callback, kind))
    return next(ranks, len(order))


def check_shared(run: Run, x: Any, listed: list[keras.callbacks.Callback]) -> None:
    """Warns when episodes are evaluated or filmed in the very environment that is trained on."""
    given = isinstance(x, gym.Env | gym.vector.VectorEnv)
    if given and any(isinstance(c, Evaluation | Video) and c.env is x for c in listed):
        run.evaluates_in_training_environment = True
        warnings.warn(
            "the environment that is trained on is evaluated in too: this breaks off the episode "
            "that is being collected. Give validation_data, Evaluation and Video environments of "
            "their own.",
            stacklevel=3,
        )


def evaluation(env: Any, every_epochs: int, seed: int | None) -> list[Any]:
    """The `Evaluation` that `validation_data` stands for, if any."""
    if env is None:
        return []
    seed = None if seed is None else seed + _EVALUATION_SEED_OFFSET
    return [Evaluation(env, every_epochs=every_epochs, seed=seed)]


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


def verbosity(verbose: str | int) -> int:
    """Resolves "auto" as Keras does."""
    if verbose not in (0, 1, 2, "auto"):
        raise ArgumentError(f'verbose must be 0, 1, 2 or "auto"; received {verbose!r}.')
    if verbose == "auto":
        return 1 if keras.utils.is_interactive_logging_enabled() else 2
    return int(verbose)
