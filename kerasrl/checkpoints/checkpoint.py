"""Checkpoints of a whole run, and going on from them."""

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.callbacks import EarlyStopping

from kerasrl.arguments import positive, whole
from kerasrl.checkpoints.callback_state import get_states, set_states
from kerasrl.checkpoints.directory import CheckpointDirectory
from kerasrl.checkpoints.resumed import Resumed
from kerasrl.checkpoints.run_settings import (
    check_same_run,
    settings_of,
    warn_of_rates,
)
from kerasrl.errors import ArgumentError, KerasRLError, LoadError, SaveError
from kerasrl.files.nests import DAMAGE, read_nest, write_nest
from kerasrl.run import AgentCallback, Fitted
from kerasrl.saving.description import learning_rates
from kerasrl.warning import warn

_STREAM = 5  # Random numbers apart from those of whatever else has the run's seed.


class Checkpoint(AgentCallback):
    """Keeps all of a run in a directory, and has a `fit` with the same directory go on from there.

    A directory is one run. Kept are the agent with its optimizers, the replay's contents, the
    counters, the random states, and the states of the callbacks: Keras's own, and those that define
    `get_state()`, which returns dicts, lists, plain values and arrays, and `set_state(state)`.
    It is kept at the end of every so many epochs, after so much time, when the run is interrupted
    by Ctrl-C or SIGTERM, and at the end. What is written is whole or does not count: the newest
    whole checkpoint is gone on from, with a warning if a newer one is damaged.

    To go on, call `fit` again with the same agent, arguments and directory; `epochs` or `env_steps`
    may be more. With a `seed`, the run then does what it would have done without the break, bit for
    bit on one device under `tf.config.experimental.enable_op_determinism`, if the environments'
    states can be kept (classic control, and those with `get_state` and `set_state`); with others,
    new episodes begin. Layers that draw random numbers by themselves, such as Dropout, draw others.

    Args:
        directory: str or path, made if it is missing.
        every_epochs: int, epochs from one checkpoint to the next; None keeps none at an epoch's
            end.
        every_seconds: float, time from one checkpoint to the next; None leaves it to the epochs.
        max_to_keep: int, how many of the newest checkpoints are kept.
        replay: bool, whether the replay's contents are kept; without them a run goes on with an
            empty replay.
        on_error: "raise", or "warn" to go on when a checkpoint cannot be written.

    Raises:
        ArgumentError: when an argument is out of its range, or another run uses the directory.
        LoadError: when there are checkpoints and none is whole.
        MismatchError: when a checkpoint is of another agent or of other settings; nothing has been
            changed then.
        SaveError: when a checkpoint cannot be written; those before are as they were.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every_epochs: int | None = 1,
        every_seconds: float | None = None,
        max_to_keep: int = 2,
        replay: bool = True,
        on_error: str = "raise",
    ):
        super().__init__()
        if on_error not in ("raise", "warn"):
            raise ArgumentError(f'on_error must be "raise" or "warn"; received {on_error!r}.')
        self.directory = Path(directory).absolute()  # The working directory may change.
        self.every_epochs = whole("every_epochs", every_epochs, optional=True)
        self.every_seconds = positive("every_seconds", every_seconds, optional=True)
        self.max_to_keep = whole("max_to_keep", max_to_keep)
        self.replay = replay
        self.on_error = on_error
        self.latest: Path | None = None
        self._resources = contextlib.ExitStack()

    def find(self, agent: Fitted) -> Resumed | None:
        """Opens the directory, and reads the newest whole checkpoint in it, if there is one.

        `fit` calls it before anything is changed.
        """
        self.set_model(agent)
        self._directory = CheckpointDirectory(self.directory, self.max_to_keep)
        self._resources.callback(self._directory.close)
        self.latest = self._directory.newest()
        self._rates_at_begin = self._rates()
        if self.latest is None:
            return None
        resumed = Resumed(self.latest, read_nest(self.latest / "state"))
        with _damaged_if_wrong(self.latest):
            check_same_run(agent, resumed)
            warn_of_rates(self._rates(), resumed)
            self._rates_at_begin = resumed.state["rates_at_begin"]
        return resumed

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins to count; nothing is kept before the first step can be taken."""
        self._steps = self._steps_before = self._epoch = self._step = 0
        self._asked = False
        self._saved: tuple[int, int] | None = None
        self._ready = False
        self._saved_at = time.monotonic()

    def begin(self, epoch: int, steps_per_epoch: int | None) -> tuple[int, int]:
        """Says where to begin, and puts back what the callbacks kept.

        `fit` calls it when every callback has begun.

        Args:
            epoch: int, the epoch to begin with if there is nothing to go on from.
            steps_per_epoch: int or None, gradient steps in an epoch where that is fixed.

        Returns:
            The epoch and the step in it to begin with.
        """
        self._steps_per_epoch = steps_per_epoch
        resumed = self.model.run.resumed
        self._epoch = epoch
        if resumed is not None:
            with _damaged_if_wrong(resumed.directory):
                self._go_on(resumed, epoch)
        self._ready = True
        return self._epoch, self._step

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts back the running means of an epoch that was broken off."""
        if self._step and self.model.run.resumed is not None:
            self.restore_metrics()

    def restore_metrics(self) -> None:
        """Puts back the running means."""
        metrics = self.model.run.resumed.state["metrics"]
        for metric in self.model.metrics:
            for variable, value in zip(metric.variables, metrics[metric.name], strict=True):
                variable.assign(value)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes which step comes next."""
        self._first_batch = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the steps just done, and saves if it is time to, but for the epoch's last step.

        It waits for what is under way in a thread.
        """
        self._steps += batch - self._first_batch + 1
        self._step = batch + 1
        collector = self.model.run.collector
        if collector is not None and collector.at_work:
            return
        if self._asked or (self._step != self._steps_per_epoch and self._is_time()):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves if it is due."""
        self._epoch, self._step = epoch + 1, 0
        due = self.every_epochs is not None and self._epoch % self.every_epochs == 0
        if self._asked or due or self._is_time():
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Saves what has not been saved."""
        if self._ready and self._saved != (self._epoch, self._step):
            self._save()

    def close(self) -> None:
        """Lets other runs use the directory; called by `fit`, whatever happens."""
        self._resources.close()

    def save(self) -> None:
        """Has other callbacks ask for a checkpoint, written when all of them are through.

        That is at the end of the gradient step, or of the epoch, that they are called for.
        """
        self._asked = True

    def _save(self) -> None:
        self._asked = False
        try:
            with self._directory.writing(self._steps) as directory:
                self.model.save(directory / "agent.keras")
                write_nest(directory / "state", self._state())
                self._save_replay(directory / "replay")
        except SaveError as error:
            if self.on_error == "raise":
                raise
            warn(f"no checkpoint was kept: {error}")
        else:
            self.latest = self._directory.checkpoint(self._steps)
            self._saved = (self._epoch, self._step)
        self._saved_at = time.monotonic()

    def _is_time(self) -> bool:
        waited = time.monotonic() - self._saved_at
        return self.every_seconds is not None and waited >= self.every_seconds

    def _save_replay(self, directory: Path) -> None:
        run = self.model.run
        if run.environments is not None and self.replay:  # A dataset is there without it.
            directory.mkdir()
            run.replay.save(directory, self._steps - self._steps_before)

    def _rates(self) -> dict[str, float]:
        return learning_rates({"compile_config": self.model.get_compile_config()})

    @property
    def _others(self) -> list[keras.callbacks.Callback]:
        run, history = self.model.run, [self.model.history]
        return [c for c in run.callbacks + history if c is not run.collector]

    def _state(self) -> dict[str, Any]:
        collector = self.model.run.collector
        return {
            "settings": settings_of(self.model),
            "rates": self._rates(),
            "rates_at_begin": self._rates_at_begin,
            "steps": self._steps,
            "epoch": self._epoch,
            "step": self._step,
            "steps_per_epoch": self._steps_per_epoch,
            "stopped": any(isinstance(c, EarlyStopping) and c.stopped_epoch for c in self._others),
            "metrics": {m.name: [v.numpy() for v in m.variables] for m in self.model.metrics},
            "collector": None if collector is None else collector.get_state(),
            "callbacks": get_states(self._others),
            "random": {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)},
        }

    def _go_on(self, resumed: Resumed, first_epoch: int) -> None:
        state = resumed.state
        self._steps = self._steps_before = state["steps"]
        self._epoch, self._step = state["epoch"], state["step"]
        collector = self.model.run.collector
        if collector is not None:
            collector.set_state(state["collector"])
        set_states(self._others, state["callbacks"])
        _set_random_states(state["random"], self.model.run.seed, self._steps)
        if self._step and self._steps_per_epoch is None:
            self._step = 0  # Where an epoch ends is not known: the whole of it is done again.
        elif self._steps_per_epoch != state["steps_per_epoch"]:
            epochs, self._step = divmod(self._steps, self._steps_per_epoch or 1)
            self._epoch = first_epoch + epochs
        if self.params["verbose"]:
            print(f"Going on from {resumed.directory}.")
        exhausted = collector is not None and collector.exhausted
        if state["stopped"] or exhausted or self._epoch >= self.params["epochs"]:
            warn(
                f"the run in {self.directory} has ended, after {self._steps} gradient steps; there "
                "is nothing left to train. Raise epochs or env_steps, or use another directory."
            )
            self._epoch, self._step = self.params["epochs"], 0
        self._saved = (self._epoch, self._step)


@contextlib.contextmanager
def _damaged_if_wrong(directory: Path) -> Iterator[None]:
    """Says which checkpoint it was that does not hold what it should."""
    try:
        yield
    except KerasRLError:
        raise
    except DAMAGE as error:
        raise LoadError(
            f"{directory} does not hold what this run can go on from: {type(error).__name__}: "
            f"{error}."
        ) from error


def _set_random_states(states: dict[str, Any], seed: int | None, steps: int) -> None:
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(states["numpy"])
    if seed is not None:  # TensorFlow's own state cannot be had.
        rng = np.random.default_rng([seed, _STREAM, steps])
        tf.random.set_seed(int(rng.integers(2**31)))
