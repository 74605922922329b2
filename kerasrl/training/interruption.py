"""Ctrl-C and SIGTERM while fitting: what is at work ends first."""

import os
import signal
import threading
from traceback import clear_frames
from typing import Any

_HANDLED: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}

_SAID = b"\nEnding in order; Ctrl-C stops at once.\n"


class Interrupted(KeyboardInterrupt):
    """A signal asks the run to end."""


class Interruption:
    """Turns the first SIGINT or SIGTERM into an `Interrupted`; a second one stops at once.

    As a context manager it handles those signals that nobody else handles, in the main thread only,
    where alone Python allows it. At its end `Interrupted` becomes what the signal stands for:
    `KeyboardInterrupt`, or `SystemExit` with status 143.

    Attributes:
        deferred: bool, whether a first signal waits for `check`.
    """

    def __init__(self) -> None:
        self.deferred = False
        self._received: int | None = None
        self._handled: list[int] = []
        self._process = os.getpid()

    @property
    def received(self) -> bool:
        """Whether a signal has come."""
        return self._received is not None

    def check(self) -> None:
        """Raises `Interrupted` if a signal has come while it was deferred."""
        if self._received is not None:
            raise Interrupted

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number, default in _HANDLED.items():
                if signal.getsignal(number) is default:
                    signal.signal(number, self._handle)
                    self._handled.append(number)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: Any) -> None:
        for number in self._handled:
            signal.signal(number, _HANDLED[number])
        if isinstance(error, Interrupted):
            clear_frames(traceback)  # Iterators in them complain of a Python that is ending.
        if self._received is not None and (error is None or isinstance(error, Interrupted)):
            raise _meant_by(self._received) from None

    def _handle(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # A process that was forked meanwhile.
            signal.signal(number, _HANDLED[number])
            signal.raise_signal(number)
            return
        if self._received is not None:
            raise _meant_by(number)
        self._received = number
        os.write(2, _SAID)  # Buffers of Python's own may be in use at this moment.
        if not self.deferred:
            raise Interrupted


def _meant_by(number: int) -> BaseException:
    return SystemExit(128 + number) if number == signal.SIGTERM else KeyboardInterrupt()
