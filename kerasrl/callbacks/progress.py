"""What `fit` and `evaluate` print while they run."""

import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import keras

from kerasrl.callbacks.columns import UNKNOWN

_INTERVAL = 0.1  # Seconds from one writing of a line to the next.
_BAR = 20  # Columns.
_WHILE_RUNNING = ("loss", "episode_return", "env_steps")


class Line:
    """A line of text that is written over itself, never wider than the terminal.

    Where that cannot be, in files and pipes, only what is final is written.
    """

    def __init__(self) -> None:
        self._shown = 0
        self._written_at = 0.0

    def show(self, parts: list[str], bar: str) -> None:
        """Writes the parts that there is room for, and a bar if there is more of it."""
        now = time.monotonic()
        if not _overwrites() or now - self._written_at < _INTERVAL:
            return
        self._written_at = now
        columns = _columns()
        self._write(_fitting(parts, bar, columns), columns)

    def end(self, parts: list[str], wraps: bool = True) -> None:
        """Writes all parts, in several lines if they need them, in place of what was shown."""
        columns = _columns()
        lines = _wrapped(parts, columns) if wraps else [" - ".join(parts)]
        if keras.utils.is_interactive_logging_enabled():
            self._write(lines[0], columns)
            sys.stdout.write("".join(f"\n{line}" for line in lines[1:]) + "\n")
            sys.stdout.flush()
        else:
            # As in Keras, but for its making handlers for the user's root logger.
            logging.getLogger("absl").info("\n".join(lines))
        self._shown = 0

    def close(self) -> None:
        """Goes to the next line if something is shown."""
        if self._shown:
            self._shown = 0
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _write(self, text: str, columns: int) -> None:
        blanks = " " * (min(self._shown, columns) - len(text))
        sys.stdout.write(f"\r{text}{blanks}" if self._shown else text)
        sys.stdout.flush()
        self._shown = len(text)


class Progress(keras.callbacks.Callback):
    """Shows how far an epoch is and a few of its figures, and all of them at its end.

    `fit` adds it unless `verbose` is 0 or a `keras.callbacks.ProgbarLogger` is passed. With
    `verbose=2` every epoch is one line.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Has shown nothing yet."""
        self._line = Line()
        self._total = self.params["steps"]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Names the epoch."""
        self._began = time.monotonic()
        self._done = 0
        self._before: int | None = None
        if self.params["epochs"] > 1:
            self._line.end([f"Epoch {epoch + 1}/{self.params['epochs']}"])

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Notes where an epoch begins, or is gone on with."""
        if self._before is None:
            self._before = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows a few figures."""
        self._done = batch + 1
        if self.params["verbose"] == 1:
            logs = logs or {}
            known = {name: logs[name] for name in _WHILE_RUNNING if name in logs}
            seconds = max(time.monotonic() - self._began, 1e-9)
            speed = f"{plain((self._done - (self._before or 0)) / seconds)}/s"
            bar = _bar(self._done, self._total)
            self._line.show([*self._steps(), *figures(known), speed], bar)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows all figures."""
        self._total = self._total or self._done  # The end of a dataset is known now.
        parts = [*self._steps(), *figures(logs or {})]
        wraps = self.params["verbose"] == 1
        if wraps:
            parts[0] += f" {_bar(self._done, self._total)}"
        self._line.end(parts, wraps)

    def close(self) -> None:
        """Leaves the line of an epoch that was broken off."""
        if hasattr(self, "_line"):
            self._line.close()

    def _steps(self) -> list[str]:
        return [_count(self._done, self._total), f"{time.monotonic() - self._began:.0f}s"]


class EpisodeProgress:
    """Shows how many episodes have ended, and their mean return.

    Args:
        episodes: int, to be run.
        verbose: 0, 1 or 2.
    """

    def __init__(self, episodes: int, verbose: int):
        self._episodes = episodes
        self._verbose = verbose
        self._line = Line()
        self._began = time.monotonic()
        self._returns: list[float] = []

    def add(self, episode_return: float) -> None:
        """Counts an episode."""
        self._returns.append(episode_return)
        if self._verbose == 1:
            mean = math.fsum(self._returns) / len(self._returns)
            parts = [*self._so_far(), *figures({"episode_return": mean})]
            self._line.show(parts, _bar(len(self._returns), self._episodes))

    def end(self, results: Mapping[str, float]) -> None:
        """Shows the results."""
        if self._verbose:
            parts = [*self._so_far(), *figures(results)]
            if self._verbose == 1:
                parts[0] += f" {_bar(len(self._returns), self._episodes)}"
            self._line.end(parts, self._verbose == 1)

    def close(self) -> None:
        """Leaves the line of an evaluation that was broken off."""
        self._line.close()

    def _so_far(self) -> list[str]:
        return [
            _count(len(self._returns), self._episodes),
            f"{time.monotonic() - self._began:.0f}s",
        ]


def _count(done: int, total: int | None) -> str:
    return str(done) if total is None else f"{done:{len(str(total))}}/{total}"


def _bar(done: int, total: int | None) -> str:
    """How much of the whole is done, such as `[========>...]`; empty if that is not known."""
    if not total:
        return ""
    filled = min(_BAR * done // total, _BAR)
    head = "=" * filled if done >= total else f"{'=' * (filled - 1)}>"
    return f"[{head:.<{_BAR}}]"


def figures(logs: Mapping[str, Any]) -> list[str]:
    """What is known of an epoch's figures, as text.

    Args:
        logs: dict from names to numbers.

    Returns:
        list such as `["env_steps: 3000", "episode_return: -19.65"]`.
    """
    return [f"{name}: {plain(v)}" for name, v in logs.items() if v is not UNKNOWN]


def plain(value: Any) -> str:
    """A number with four significant digits, and whole numbers with all of theirs."""
    try:
        number = float(value)
    except (TypeError, ValueError):  # A callback may log what it likes.
        return str(value)
    if not math.isfinite(number) or not 1e-4 <= abs(number) < 1e15:
        return "0" if number == 0 else f"{number:.4g}"
    if number.is_integer():
        return f"{number:.0f}"
    decimals = max(3 - math.floor(math.log10(abs(number))), 0)
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _overwrites() -> bool:
    """Whether a carriage return goes back to the beginning of a line, as in notebooks."""
    if not keras.utils.is_interactive_logging_enabled():
        return False
    terminal = hasattr(sys.stdout, "isatty") and sys.stdout.isatty()
    return terminal or "ipykernel" in type(sys.stdout).__module__


def _columns() -> int:
    """Columns that may be written to; the last one would begin another line in some terminals."""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (AttributeError, OSError, ValueError):
        columns = shutil.get_terminal_size().columns
    return max(columns or 80, 2) - 1


def _fitting(parts: list[str], bar: str, columns: int) -> str:
    text = ""
    for part in parts[1:]:
        if len(parts[0]) + len(text) + len(part) + 3 <= columns:
            text += f" - {part}"
    if bar and len(parts[0]) + len(bar) + len(text) + 1 <= columns:
        text = f" {bar}{text}"
    return f"{parts[0]}{text}"[:columns]


def _wrapped(parts: list[str], columns: int) -> list[str]:
    """Lines no wider than `columns` where parts allow it; those after the first are indented."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= columns:
            lines[-1] += f" - {part}"
        else:
            lines.append(f"  {part}")
    return [piece for line in lines for piece in _pieces(line, columns)]


def _pieces(line: str, columns: int) -> list[str]:
    return [line[i : i + columns] for i in range(0, len(line), columns)]
