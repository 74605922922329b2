"""Exported policies while training."""

import math
import os
from pathlib import Path
from typing import Any

from kerasrl.arguments import whole
from kerasrl.callbacks.evaluation import Evaluation
from kerasrl.errors import ArgumentError
from kerasrl.files.atomic import explained
from kerasrl.policies import EXPORT_FORMATS
from kerasrl.run import AgentCallback
from kerasrl.warning import warn

_RESULTS = ("episode_return", "episode_return_std", "episode_length")


class PolicyExport(AgentCallback):
    """Exports the policy when it is the best one yet, and every so many epochs.

    The best one is in `best`, and the seventh epoch's in `epoch-0007`, each a directory that
    `agent.export_policy` writes, with the figures of that epoch's evaluation, if there was one, as
    its `results`. `best` is replaced by a better one as a whole, so that it can be loaded at any
    time. It goes on from the best of an earlier `fit` when the callback is used again.

    Args:
        directory: str or path, made if it is missing.
        every_epochs: int, epochs from one export to the next; None leaves it to new bests.
        monitor: str, the name in the logs of what is to be best; None leaves it to the epochs.
        mode: "max" if more of it is better, or "min".
        format: "saved_model" or "tflite".

    Raises:
        ArgumentError: when an argument is out of its range, or nothing would be exported.
        SaveError: when a policy cannot be written; the one before is as it was.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every_epochs: int | None = None,
        monitor: str | None = "val_episode_return",
        mode: str = "max",
        format: str = "saved_model",
    ):
        super().__init__()
        every_epochs = whole("every_epochs", every_epochs, optional=True)
        _check(every_epochs, monitor, mode, format)
        self.directory = Path(directory)
        self.every_epochs = every_epochs
        self.monitor = monitor
        self.mode = mode
        self.format = format
        self.best: float | None = None
        self._warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes the directory, so that a mistake shows before training."""
        with explained(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Exports what is due."""
        logs = logs or {}
        if self.every_epochs is not None and (epoch + 1) % self.every_epochs == 0:
            self._export(f"epoch-{epoch + 1:04d}", logs)
        if self.monitor in logs:
            value = float(logs[self.monitor])
            if self._is_better(value):
                self._export("best", logs)
                self.best = value
        elif self.monitor is not None:
            self._warn_of_nothing()

    def get_state(self) -> dict[str, Any]:
        """What `set_state` needs to go on: the best value."""
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes over what `get_state` gave."""
        self.best = state["best"]

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)  # Than which nothing would be better.
        return value > self.best if self.mode == "max" else value < self.best

    def _export(self, name: str, logs: dict[str, Any]) -> None:
        self.model.export_policy(self.directory / name, self.format, self._results(logs))

    def _results(self, logs: dict[str, Any]) -> dict[str, float] | None:
        if self._evaluation is None or "val_episode_return" not in logs:
            return None
        results = {key: float(logs[f"val_{key}"]) for key in _RESULTS}
        if not all(map(math.isfinite, results.values())):
            return None
        return results | {"episodes": self._evaluation.episodes}

    @property
    def _evaluation(self) -> Evaluation | None:
        return next((c for c in self.model.run.callbacks if isinstance(c, Evaluation)), None)

    def _warn_of_nothing(self) -> None:
        if self._evaluation is None and not self._warned:
            self._warned = True
            warn(
                f"PolicyExport has no {self.monitor} to tell the best policy by. Give fit "
                "validation_data, or monitor something that is logged."
            )


def _check(every_epochs: int | None, monitor: str | None, mode: str, format: str) -> None:
    if every_epochs is None and monitor is None:
        raise ArgumentError(
            "PolicyExport needs every_epochs, monitor or both, or nothing would be exported."
        )
    if mode not in ("max", "min"):
        raise ArgumentError(f'mode must be "max" or "min"; received {mode!r}.')
    if format not in EXPORT_FORMATS:
        raise ArgumentError(
            f"format must be one of {', '.join(EXPORT_FORMATS)}; received {format!r}."
        )
