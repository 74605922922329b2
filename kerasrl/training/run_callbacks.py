"""The callbacks of a run: the agent's own, the user's, and Keras's."""

import traceback
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.callbacks import Checkpoint, Evaluation, Video, columns
from kerasrl.callbacks.progress import Progress
from kerasrl.errors import ArgumentError
from kerasrl.notes import add_note
from kerasrl.private import in_turn
from kerasrl.training.ending import carrying
from kerasrl.training.interruption import Interruption
from kerasrl.training.learning_rates import LearningRates, learning_rates


class AllCallbacks(keras.callbacks.Callback):
    """A `RunCallbacks` within another list, such as one that a logger makes of it.

    Args:
        listed: `RunCallbacks`.
    """

    def __init__(self, listed: "RunCallbacks"):
        super().__init__()
        self._listed = listed

    def on_train_begin(self, logs: Any = None) -> None:
        """Passes it on, as the others do."""
        self._listed.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:  # noqa: D102
        self._listed.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self._listed.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: D102
        self._listed.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self._listed.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: D102
        self._listed.on_train_batch_end(batch, logs)


class RunCallbacks(keras.callbacks.CallbackList):
    """Keras's list, which lets a signal end the run where it can be gone on from.

    That is between two gradient steps, and in an evaluation. What comes after the evaluation at the
    end of an epoch happens as a whole.

    Args:
        callbacks: list of Keras callbacks.
        interruption: `Interruption` of the run.
        **arguments: as for `keras.callbacks.CallbackList`.
    """

    def __init__(
        self,
        callbacks: list[keras.callbacks.Callback],
        interruption: Interruption,
        **arguments: Any,
    ):
        super().__init__(callbacks, **arguments)
        self._interruption = interruption
        self._begun: list[keras.callbacks.Callback] = []
        resumed = self.model.run.resumed
        begun = {} if resumed is None else resumed.state["rates_at_begin"]
        self._rates = LearningRates(self.model, begun)
        self._counting: bool | None = None
        in_turn(self)

    def __iter__(self) -> Iterator[keras.callbacks.Callback]:
        """One callback that stands for all, for tools that put the callbacks into another list."""
        yield AllCallbacks(self)

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes which callbacks have begun."""
        logs = _numbers(logs)
        for callback in self.callbacks:
            callback.on_train_begin(logs)
            self._begun.append(callback)
        self.model.run.replay.expect(begun=True)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Puts signals off until a step has been taken.

        In an epoch that is gone on with, the learning rate has been scheduled already.
        """
        self._interruption.deferred = True
        within, self.model.run.within_epoch = self.model.run.within_epoch, False
        logs = _numbers(logs)
        for callback in self.callbacks:
            if not (within and isinstance(callback, keras.callbacks.LearningRateScheduler)):
                with self._rates.following(callback):
                    callback.on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Puts signals off."""
        self._interruption.deferred = True
        with carrying:
            self._count_before(batch)
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the run if a signal has come, unless something is under way in a thread."""
        with carrying:
            self._count(batch)
            super().on_train_batch_end(batch, logs)
        collector = self.model.run.collector
        self._let_signals_in(collector is None or not collector.at_work)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the figures of the epoch, those that are not known included."""
        given, logs = logs, _numbers(logs) | self._settings() | learning_rates(self.model)
        logs = columns.filled(logs, self.callbacks, self.model.history)
        for callback in self.callbacks:
            self._let_signals_in(isinstance(callback, Evaluation | Video))
            with self._rates.following(callback):
                columns.end_epoch(callback, epoch, logs)
        if given is not None:
            given.update(logs)  # For those outside of this list, see `__iter__`.
        self._let_signals_in(True)

    def on_train_end(self, logs: Any = None) -> None:
        """Ends what has begun, and puts signals off until everything is closed."""
        self._interruption.deferred = True
        self.callbacks = self._begun
        logs = _numbers(logs)
        for callback in self.callbacks:
            callback.on_train_end(logs)

    def _let_signals_in(self, now: bool) -> None:
        self._interruption.deferred = not now
        if now:
            self._interruption.check()

    def _settings(self) -> dict[str, float]:
        """The weights that callbacks change, in a run that collects with them."""
        names = () if self.model.run.environments is None else self.model.settings
        return {name: float(getattr(self.model, name).numpy()) for name in names}

    def _count_before(self, batch: int) -> None:
        self._first_batch = batch
        if self._counting is None:
            self._steps_before = int(self.model.gradient_steps.numpy())

    def _count(self, batch: int) -> None:
        """Counts gradient steps, if the agent's own `train_step` does not, not calling `track`."""
        if self._counting is None:
            self._counting = int(self.model.gradient_steps.numpy()) == self._steps_before
        if self._counting:
            self.model.gradient_steps.assign_add(batch - self._first_batch + 1)

    def close(self) -> None:
        """Ends the line of a progress bar that was broken off."""
        for callback in self.callbacks:
            if isinstance(callback, Progress):
                callback.close()

    def blame(self, error: Exception) -> None:
        """Notes which callback an error comes from, if it comes from one of the user's own."""
        own = [callback for callback in self.callbacks if not _is_known(callback)]
        for frame, _ in traceback.walk_tb(error.__traceback__):
            callback = frame.f_locals.get("self")
            if any(callback is other for other in own):
                add_note(
                    error, f"in the callback {type(callback).__name__}: {frame.f_code.co_name}"
                )
                return


def _numbers(logs: Any) -> dict[str, Any]:
    """Turns the tensors in logs into Python's own numbers, or into arrays."""
    arrays = {n: v.numpy() if tf.is_tensor(v) else v for n, v in (logs or {}).items()}
    return {n: v.item() if np.ndim(v) == 0 and hasattr(v, "item") else v for n, v in arrays.items()}


def _is_known(callback: keras.callbacks.Callback) -> bool:
    return type(callback).__module__.partition(".")[0] in ("keras", "kerasrl")


def keras_callbacks(
    agent: keras.Model,
    interruption: Interruption,
    epochs: int,
    steps_per_epoch: int | None,
    verbose: int,
) -> RunCallbacks:
    """Makes Keras's list, with a progress line."""
    listed = agent.run.callbacks
    added: list[keras.callbacks.Callback] = []
    if not _has(listed, keras.callbacks.History):
        added.append(keras.callbacks.History())
    if verbose and not _has(listed, keras.callbacks.ProgbarLogger):
        added.append(Progress())
    # A checkpoint is of what the others have come to.
    last = [callback for callback in listed if isinstance(callback, Checkpoint)]
    others = [callback for callback in listed if not isinstance(callback, Checkpoint)]
    return RunCallbacks(
        [*others, *added, *last],
        interruption,
        model=agent,
        verbose=verbose,
        epochs=epochs,
        steps=steps_per_epoch,
    )


def _has(callbacks: list[keras.callbacks.Callback], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def verbosity(verbose: str | int) -> int:
    """Resolves "auto" as Keras does."""
    if verbose not in (0, 1, 2, "auto"):
        raise ArgumentError(f'verbose must be 0, 1, 2 or "auto"; received {verbose!r}.')
    if verbose == "auto":
        return 1 if keras.utils.is_interactive_logging_enabled() else 2
    return int(verbose)
