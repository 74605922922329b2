"""The figures of every epoch, each in every epoch."""

import csv
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import RATE, number

#: The value of a figure that is not known in an epoch, told apart from others by its identity.
UNKNOWN = float("nan")

# What these do with a value that is not known is worse than not being asked.
_DECIDE = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)


def filled(
    logs: dict[str, Any], callbacks: Sequence[keras.callbacks.Callback], history: Any
) -> dict[str, Any]:
    """Adds what an epoch's logs lack, as `UNKNOWN`.

    Args:
        logs: dict of the epoch's figures so far.
        callbacks: those of the run; what one logs at all is in its `log_names`.
        history: `keras.callbacks.History` of the epochs before.

    Returns:
        dict of all figures.
    """
    names = [name for callback in callbacks for name in getattr(callback, "log_names", ())]
    return logs | {name: UNKNOWN for name in [*names, *history.history] if name not in logs}


def level(history: keras.callbacks.History) -> None:
    """Fills up the columns of figures that were not logged from the first epoch on."""
    rows = max(map(len, history.history.values()), default=0)
    for column in history.history.values():
        column[:0] = [math.nan] * (rows - len(column))


def end_epoch(callback: keras.callbacks.Callback, epoch: int, logs: dict[str, Any]) -> None:
    """Tells a callback of the end of an epoch, unless it decides by a figure that is not known.

    Args:
        callback: the callback.
        epoch: int.
        logs: dict of the epoch's figures, which the callback may add to.
    """
    if _decides(callback) and logs.get(callback.monitor) is UNKNOWN:
        if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
            logs[RATE] = number(callback.model.optimizer.learning_rate)
        return
    if isinstance(callback, keras.callbacks.CSVLogger) and callback.keys is None:
        callback.keys = _csv_columns(callback, logs)
    if isinstance(callback, keras.callbacks.TensorBoard):
        logs = {name: value for name, value in logs.items() if value is not UNKNOWN}
    callback.on_epoch_end(epoch, logs)
    if isinstance(callback, keras.callbacks.History):
        level(callback)


def _csv_columns(logger: keras.callbacks.CSVLogger, logs: dict[str, Any]) -> list[str]:
    """Those of a file that is gone on with; else all, to which Keras would add a `val_` each."""
    if logger.append and not logger.append_header:
        with tf.io.gfile.GFile(logger.filename, "r") as file:
            header = next(csv.reader([file.readline()], delimiter=logger.sep), [])
        if header[:1] == ["epoch"]:
            return header[1:]
    return sorted(logs)


def _decides(callback: Any) -> bool:
    if isinstance(callback, keras.callbacks.ModelCheckpoint):
        return callback.save_best_only and callback.save_freq == "epoch"
    return isinstance(callback, _DECIDE)
