"""Going on with a run that a `Checkpoint` has kept."""

from typing import Any

import tensorflow as tf

from kerasrl import saving
from kerasrl.checkpoints.checkpoint import Checkpoint
from kerasrl.checkpoints.resumed import Resumed
from kerasrl.run import Fitted, Run
from kerasrl.warning import warn


def find(agent: Fitted, run: Run) -> Resumed | None:
    """The checkpoint that the run goes on from, if there is one; nothing is changed yet."""
    checkpoint = _checkpoint(run)
    return None if checkpoint is None else checkpoint.find(agent)


def restore(agent: Fitted, run: Run) -> None:
    """Puts the agent back, and has files of logs gone on with."""
    if run.resumed is None:
        return
    saving.restore(agent, run.resumed.agent)
    for callback in run.callbacks:
        if isinstance(getattr(callback, "append", None), bool):
            callback.append = True
    if run.environments is not None and run.resumed.replay is None:
        warn(
            f"{run.resumed.directory} has no contents of the replay; the run goes on with an empty "
            "one."
        )


def rest_of(dataset: tf.data.Dataset, run: Run, steps_per_epoch: int | None) -> tf.data.Dataset:
    """What is left of a user's dataset.

    As in Keras, it is gone through once in each epoch, unless `steps_per_epoch` says that an epoch
    is another number of its batches.
    """
    if run.resumed is None:
        return dataset
    steps, batches = run.resumed.state["steps"], int(dataset.cardinality())
    if steps_per_epoch not in (None, batches):
        return dataset.skip(steps)
    return _skipping_once(dataset, steps % batches) if batches > 0 else dataset


def _skipping_once(dataset: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Leaves out what the broken epoch has had, in the first epoch only."""
    left = tf.Variable(count, dtype=tf.int64, trainable=False)

    def batches(_: tf.Tensor) -> tf.data.Dataset:
        skipped = tf.identity(left)
        with tf.control_dependencies([skipped]):
            left.assign(0)
        return dataset.skip(skipped)

    whole = tf.data.experimental.assert_cardinality(int(dataset.cardinality()))
    return tf.data.Dataset.range(1).flat_map(batches).apply(whole)


def begin(run: Run, epoch: int, steps_per_epoch: int | None) -> tuple[int, int] | None:
    """The epoch and the step in it to begin with, as a `Checkpoint` has it, if there is one.

    The callbacks go on where they were.
    """
    checkpoint = _checkpoint(run)
    if checkpoint is None:
        return None
    epoch, step = checkpoint.begin(epoch, steps_per_epoch)
    run.within_epoch = step > 0
    if step and step == steps_per_epoch:  # The end of the epoch was broken off.
        run.keras_callbacks.on_epoch_begin(epoch)
        run.keras_callbacks.on_epoch_end(epoch, _epoch_logs(run, checkpoint))
        stopped = checkpoint.model.stop_training
        return run.keras_callbacks.params["epochs"] if stopped else epoch + 1, 0
    return epoch, step


def _checkpoint(run: Run) -> Any:
    return next((c for c in run.callbacks if isinstance(c, Checkpoint)), None)


def _epoch_logs(run: Run, checkpoint: Checkpoint) -> dict[str, float]:
    checkpoint.restore_metrics()
    results = checkpoint.model.get_metrics_result()
    return {name: float(value) for name, value in results.items()}
