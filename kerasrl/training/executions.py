"""How many gradient steps an execution has, where `compile` was left to choose."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import set_steps_per_execution
from kerasrl.run import Run

AUTO = "auto"
_MOST = 64
_ENDLESS = tf.data.INFINITE_CARDINALITY
_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def choose(
    agent: keras.Model,
    run: Run,
    dataset: tf.data.Dataset,
    steps_per_epoch: int | None,
    verbose: int,
) -> None:
    """Sets the number of gradient steps in an execution, if `compile` was given "auto".

    It is the largest, of up to 64, that leaves everything as it is with 1: what a callback of the
    run does after every so many gradient steps, and what Keras itself does.

    Args:
        agent: compiled agent.
        run: `Run` with its callbacks.
        dataset: `tf.data.Dataset` that is trained on. One that ends does so between executions.
        steps_per_epoch: int, gradient steps in an epoch; None for all of the dataset.
        verbose: 0, 1 or 2; unless it is 0, the number is printed.
    """
    if not agent.chooses_steps_per_execution:
        return
    batches = int(dataset.cardinality()) if run.environments is None else _ENDLESS
    if agent.run_eagerly or batches == tf.data.UNKNOWN_CARDINALITY:
        set_steps_per_execution(agent, 1)
        return
    begun = 0 if run.resumed is None else run.resumed.state["step"]
    ends = 0 if batches == _ENDLESS else batches
    periods = [period(callback, steps_per_epoch or ends) for callback in run.callbacks]
    steps = _together([begun, ends, *periods])
    set_steps_per_execution(agent, steps)
    if verbose:
        print(f"steps_per_execution is {steps}{_reason(steps, run)}.")


def period(callback: Any, steps_per_epoch: int) -> int:
    """The gradient steps from one moment that a callback acts at to the next; 0 for any.

    Args:
        callback: Keras callback. One of kerasrl's own tells by `update_period(steps_per_epoch)`;
            one of the user's that has a hook for batches is called after every gradient step.
        steps_per_epoch: int.
    """
    if _has_hooks(callback):
        return 1
    if hasattr(callback, "update_period"):
        return int(callback.update_period(steps_per_epoch))
    frequency = getattr(callback, "save_freq", getattr(callback, "update_freq", "epoch"))
    if frequency == "epoch":
        return 0
    return frequency if isinstance(frequency, int) else 1


def _together(periods: Iterable[int]) -> int:
    common = math.gcd(*periods)
    if common == 0:
        return _MOST
    return max(steps for steps in range(1, min(common, _MOST) + 1) if common % steps == 0)


def _has_hooks(callback: Any) -> bool:
    return any(hook in vars(callback) or _is_users(callback, hook) for hook in _HOOKS)


def _is_users(callback: Any, hook: str) -> bool:
    kinds = (kind for kind in type(callback).__mro__ if hook in vars(kind))
    definer = next(kinds, keras.callbacks.Callback)
    return definer.__module__.partition(".")[0] not in ("keras", "kerasrl")


def _reason(steps: int, run: Run) -> str:
    named = [type(callback).__name__ for callback in run.callbacks if _has_hooks(callback)]
    return f", as {named[0]} has a hook for every batch" if steps == 1 and named else ""
