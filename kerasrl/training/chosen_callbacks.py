"""Which callbacks a run has: the agent's own and the user's, in their order."""

import os
from typing import Any

import gymnasium as gym
import keras

from kerasrl import saving
from kerasrl.arguments import whole
from kerasrl.callbacks import Checkpoint, Evaluation, StepsPerSecond, Video
from kerasrl.callbacks.collector import Collector
from kerasrl.callbacks.monitors import warn_of_directions
from kerasrl.callbacks.non_finite import NonFiniteCheck
from kerasrl.errors import ArgumentError, ArgumentTypeError
from kerasrl.training.fit_arguments import FitArguments
from kerasrl.warning import warn

_EVALUATION_SEED_OFFSET = 1_000_000


def all_callbacks(
    agent: keras.Model, collects: bool, given: list[keras.callbacks.Callback]
) -> list[keras.callbacks.Callback]:
    """Adds the agent's own callbacks, and puts those first that others read the logs of.

    Args:
        agent: the agent.
        collects: bool, whether there are environments to collect in.
        given: list, the user's.
    """
    _check_given(agent, given)
    own = [
        callback
        for callback in agent.default_callbacks()
        if not any(_replaces(other, callback) for other in given)
    ]
    if not collects:
        own = [callback for callback in own if not isinstance(callback, Collector)]
    if not any(isinstance(c, keras.callbacks.TerminateOnNaN) for c in given):
        own.append(NonFiniteCheck())
    listed = sorted([*own, *given], key=_rank)
    if collects:
        _check_collectors(agent, [c for c in listed if isinstance(c, Collector)])
    warn_of_directions(listed)
    return listed


def check_instances(given: list[Any]) -> None:
    """Raises `ArgumentTypeError` unless all are callbacks."""
    for callback in given:
        if isinstance(callback, type):
            raise ArgumentTypeError(
                f"callbacks are instances; received the class {callback.__name__}. Write "
                f"{callback.__name__}(...)."
            )
        if not hasattr(callback, "set_model"):
            raise ArgumentTypeError(
                f"callbacks must be instances of keras.callbacks.Callback; received {callback!r}."
            )


def _check_given(agent: keras.Model, given: list[Any]) -> None:
    check_instances(given)
    for callback in given:
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            _check_can_save(agent, callback)
    checkpoints = [callback for callback in given if isinstance(callback, Checkpoint)]
    if len(checkpoints) > 1:
        raise ArgumentError(
            f"a run has one Checkpoint; received {len(checkpoints)}. Raise max_to_keep to have "
            "more kept."
        )


def _check_can_save(agent: keras.Model, callback: keras.callbacks.ModelCheckpoint) -> None:
    """Raises what saving would, before anything is trained, and has it know the file's name."""
    if callback.save_weights_only:
        callback.filepath = os.fspath(saving.weights_path(callback.filepath))
    else:
        callback.filepath = os.fspath(saving.agent_path(callback.filepath))
        agent.get_compile_config()


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
    """First what puts weights back or may find a fault, then what logs, then what reads logs."""
    restores = keras.callbacks.BackupAndRestore
    order = (restores | NonFiniteCheck, Evaluation | Video, Collector, StepsPerSecond)
    ranks = (rank for rank, kind in enumerate(order) if isinstance(callback, kind))
    return next(ranks, len(order))


def check_shared(environments: Any, x: Any, listed: list[keras.callbacks.Callback]) -> None:
    """Warns when episodes are evaluated or filmed in the very environment that is trained on."""
    given = isinstance(x, gym.Env | gym.vector.VectorEnv)
    if given and any(isinstance(c, Evaluation | Video) and c.env is x for c in listed):
        environments.expect_others()
        warn(
            "the environment that is trained on is evaluated in too: this breaks off the episode "
            "that is being collected. Give validation_data, Evaluation and Video environments of "
            "their own."
        )


def evaluation(asked: FitArguments) -> list[Any]:
    """The `Evaluation` that `validation_data` stands for, if any."""
    every_epochs = whole("validation_freq", asked.validation_freq)
    if asked.validation_data is None:
        return []
    seed = None if asked.seed is None else asked.seed + _EVALUATION_SEED_OFFSET
    return [Evaluation(asked.validation_data, every_epochs=every_epochs, seed=seed)]
