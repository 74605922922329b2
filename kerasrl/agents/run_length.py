"""How long a run is."""

import math

import keras

from kerasrl.agents.fitting import Run, check_positive
from kerasrl.callbacks import Collect
from kerasrl.errors import ArgumentError

_DEFAULT_STEPS_PER_EPOCH = 1_000
_DEFAULT_EPOCHS_OF_BUDGET = 10


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
