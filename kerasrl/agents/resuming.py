"""Going on with a run that a `Checkpoint` has kept."""

import warnings
from typing import Any

import keras
import tensorflow as tf

from kerasrl import saving
from kerasrl.agents.fitting import Run
from kerasrl.callbacks import Checkpoint, EpisodeCSV
from kerasrl.callbacks.checkpoint import Resumed


def find(agent: keras.Model, run: Run) -> Resumed | None:
    """The checkpoint that the run goes on from, if there is one; nothing is changed yet."""
    checkpoint = _checkpoint(run)
    return None if checkpoint is None else checkpoint.find(agent)


def restore(agent: keras.Model, run: Run) -> None:
    """Puts the agent back, and has files of logs gone on with."""
    if run.resumed is None:
        return
    saving.restore(agent, run.resumed.agent)
    for callback in run.callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger | EpisodeCSV):
            callback.append = True
    if run.replay is not None and run.resumed.replay is None:
        warnings.warn(
            f"{run.resumed.directory} has no contents of the replay; the run goes on with an empty "
            "one.",
            stacklevel=4,
        )


def rest_of(dataset: tf.data.Dataset, run: Run, steps_per_epoch: int | None) -> tf.data.Dataset:
    """What is left of a user's dataset, where it is gone through once in all epochs."""
    if run.resumed is None or steps_per_epoch is None:
        return dataset
    return dataset.skip(run.resumed.state["steps"])


def begin(run: Run, epoch: int, steps_per_epoch: int | None) -> tuple[int, int] | None:
    """The epoch and the step in it to begin with, as a `Checkpoint` has it, if there is one.

    The callbacks go on where they were.
    """
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return None
    epoch, step = checkpoint.begin(epoch, steps_per_epoch)
    if step and step == steps_per_epoch:  # The end of the epoch was broken off.
        run.keras_callbacks.on_epoch_end(epoch, _epoch_logs(run, checkpoint))
        return epoch + 1, 0
    return epoch, step


def _checkpoint(run: Run) -> Any:
    return next((c for c in run.callbacks if isinstance(c, Checkpoint)), None)


def _epoch_logs(run: Run, checkpoint: Checkpoint) -> dict[str, float]:
    checkpoint.restore_metrics()
    results = checkpoint.model.get_metrics_result()
    return {name: float(value) for name, value in results.items()}
