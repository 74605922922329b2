"""How fast a run is."""

import time
from typing import Any

import keras


class StepsPerSecond(keras.callbacks.Callback):
    """Logs `steps_per_second`: gradient steps by wall-clock time, of the epoch so far.

    The time counts sampling and collecting, and leaves out the warm-up and what happens at the end
    of an epoch, such as evaluations. Environment steps are counted by `Collect`, which logs
    `env_steps_per_second`.
    """

    log_names = ("steps_per_second",)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._steps = 0
        self._logs: dict[str, float] = {}
        self._began = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes which step comes next."""
        self._first_batch = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the steps just done; one call ends `steps_per_execution` of them."""
        self._steps += batch - self._first_batch + 1
        seconds = time.perf_counter() - self._began
        self._logs["steps_per_second"] = self._steps / max(seconds, 1e-9)
        if logs is not None:
            logs.update(self._logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the epoch's figure, as it was before any evaluation."""
        if logs is not None:
            logs.update(self._logs)
