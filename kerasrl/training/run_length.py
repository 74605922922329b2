"""How long a run is."""

import math

from kerasrl.arguments import whole
from kerasrl.errors import ArgumentError
from kerasrl.run import Run
from kerasrl.training.fit_arguments import FitArguments

_DEFAULT_STEPS_PER_EPOCH = 1_000
_DEFAULT_EPOCHS_OF_BUDGET = 10


def length(run: Run, asked: FitArguments) -> tuple[int, int | None]:
    """Resolves `(epochs, steps_per_epoch)` by the rule that `Agent.fit` states.

    What is taken for a budget is printed if it is more, unless `verbose` is 0.
    """
    resolved = _length(run, asked.epochs, asked.steps_per_epoch, asked.initial_epoch)
    if asked.verbose:
        _say_what_is_more(run)
    return resolved


def _length(
    run: Run, epochs: int | None, steps_per_epoch: int | None, initial_epoch: int
) -> tuple[int, int | None]:
    if run.environments is None:
        return epochs if epochs is not None else initial_epoch + 1, steps_per_epoch
    collector = run.collector
    if run.env_steps is None:
        epochs = epochs if epochs is not None else initial_epoch + 1
        default = collector.steps_per_epoch or collector.whole_turns(_DEFAULT_STEPS_PER_EPOCH)
        return epochs, steps_per_epoch or default
    updates = collector.updates(run.env_steps)
    if collector.steps_per_epoch is not None:  # The budget is a limit that is met in some epoch.
        steps_per_epoch = steps_per_epoch or collector.steps_per_epoch
        most = _last_epoch(run, updates, steps_per_epoch, initial_epoch)
        return most if epochs is None else epochs, steps_per_epoch
    if epochs is not None and steps_per_epoch is not None:
        raise ArgumentError(
            f"env_steps={run.env_steps}, epochs={epochs} and steps_per_epoch={steps_per_epoch} "
            "say twice how long to train. Leave one of them out."
        )
    if steps_per_epoch is None:
        count = _DEFAULT_EPOCHS_OF_BUDGET if epochs is None else epochs - initial_epoch
        whole("epochs - initial_epoch", count)
        steps_per_epoch = collector.whole_turns(math.ceil(updates / count))
    return _last_epoch(run, updates, steps_per_epoch, initial_epoch), steps_per_epoch


def _last_epoch(run: Run, updates: int, steps_per_epoch: int, initial_epoch: int) -> int:
    """The epoch in which so many gradient steps of the run have been taken."""
    done = 0
    if run.resumed is not None and run.resumed.state["steps_per_epoch"] == steps_per_epoch:
        # An epoch that the budget cut short is over.
        state = run.resumed.state
        initial_epoch, done = state["epoch"], state["steps"] - state["step"]
    return initial_epoch + max(0, math.ceil((updates - done) / steps_per_epoch))


def _say_what_is_more(run: Run) -> None:
    """Prints how many environment steps are taken, if they are not the budget."""
    if run.env_steps is None or run.environments is None:
        return
    collector = run.collector
    whole = collector.whole(run.env_steps)
    if whole != run.env_steps:
        print(
            f"env_steps={run.env_steps} becomes {whole}, a multiple of what "
            f"{type(collector).__name__} takes at once."
        )
