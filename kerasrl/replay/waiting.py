"""Waiting for what is to be sampled: never for ever, and with an error that says what is wrong."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kerasrl.arguments import positive
from kerasrl.errors import ReplayError, ReplayStarved
from kerasrl.warning import warn

_SLICE = 1.0  # Seconds from one look at the main thread to the next.


class Waiting:
    """What everybody who waits for a replay shares: for how long, and what it ended with.

    Args:
        timeout: float, seconds that a call may take before it is an error.

    Attributes:
        wait: float, seconds of the timeout to wait for what is wanted.
        failure: the error that waiting ended with, or None. What a `tf.data` pipeline raises comes
            out of TensorFlow as another class; this is the original.
        begun: bool, whether what is asked for may come. Whoever fills the replay sets it to False
            until it begins to, so that nobody who looks into a dataset before waits for it.
    """

    def __init__(self, timeout: float):
        self.wait = timeout
        self.failure: ReplayError | None = None
        self.begun = True

    def look(self, awaited: str, waited: float = 0.0) -> Any:
        """Raises what is wrong, if something is: what is in this process cannot be gone.

        Args:
            awaited: str, what is waited for, for the error.
            waited: float, seconds that it has been waited for already.
        """

    def find_failure(self) -> ReplayError | None:
        """The `failure`; looks for one if none is known."""
        return self.failure

    def holdings(self) -> str:
        """What the replay held when it was looked at last, as a sentence."""
        raise NotImplementedError

    def check_begun(self) -> None:
        """Raises `ReplayError` when the replay is not being filled yet."""
        if not self.begun:
            self.failure = ReplayError(
                "nothing is drawn from the replay before training has begun, as it is filled while "
                "training. Whatever reads a batch of the dataset that fit hands to Keras before "
                "that, such as a logger of datasets, has to do without."
            )
            raise self.failure

    def starved(self, awaited: str, seconds: float) -> ReplayStarved:
        """The error, or the text of a warning, that nothing can be sampled and nothing comes."""
        return ReplayStarved(
            f"{seconds:.1f} s were spent waiting for {awaited}, and nothing was inserted. "
            f"{self.holdings()} See whether whatever collects is still at work, and whether what "
            "it writes is flushed; if it takes that long, give the replay a longer timeout."
        )

    def explain(self, awaited: str, error: Exception) -> ReplayError:
        """The error to raise in the place of another's."""
        reason = " ".join(str(error).split())
        return ReplayError(f"the replay failed at {awaited}: {reason}. {self.holdings()}")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Keeps the error that a pipeline's Python function raises in `failure`."""
        try:
            yield
        except ReplayError as error:
            self.failure = error
            raise

    def until(
        self,
        changed: threading.Condition,
        ready: Callable[[], bool],
        awaited: str,
        expected: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Waits until something is there, warning once after a quarter of the time.

        Args:
            changed: the condition, held, that is notified when `ready` may have changed.
            ready: callable, whether it is there.
            awaited: str, what is waited for.
            expected: callable, whether it is to be there in time; until then time stands still.

        Returns:
            False when the main thread ended meanwhile, after which nothing comes.

        Raises:
            ReplayStarved: when it is not there in time.
        """
        begun, warned = time.monotonic(), False
        while not ready():
            changed.wait(min(_SLICE, self.wait / 4))
            if not threading.main_thread().is_alive():
                return False
            waited = time.monotonic() - begun
            if not expected():
                begun = time.monotonic()
            elif ready():
                break
            elif waited >= self.wait:
                self.look(awaited, waited)
                raise self.starved(awaited, waited)
            elif waited >= self.wait / 4 and not warned:
                warned = True
                self.look(awaited, waited)
                self._warn(awaited, waited)
        return True

    def _warn(self, awaited: str, seconds: float) -> None:
        try:
            warn(str(self.starved(awaited, seconds)))
        except Warning as warning:  # The user has made warnings errors.
            raise ReplayError(str(warning)) from warning


def check_timeout(timeout: float) -> float:
    """Returns the timeout in seconds, or raises `ArgumentError`."""
    return positive("timeout", timeout, "positive, in seconds")
