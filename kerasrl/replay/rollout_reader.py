"""Fetching rollouts from a queue."""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kerasrl.errors import ArgumentError
from kerasrl.replay.tables import QueueTable

_KEPT = 2  # Rollouts: the one that is learned from, and one that was asked for ahead of time.
_AWAITED = "a rollout"


class RolloutReader:
    """Fetches rollouts once they are there.

    A sampler of Reverb's that waits for an item cannot be told to end, which would hold up the end
    of a run, for ever under `MirroredStrategy`. So the waiting is done here.

    Args:
        table: `QueueTable`.
        expected: callable that returns whether the next rollout is to be there in time.

    Attributes:
        waiting: int, rollouts in the table.
    """

    def __init__(self, table: QueueTable, expected: Callable[[], bool]):
        self._table: Any = table
        self._waits: Any = table.waiting
        self._expected: Any = expected
        self._changed = threading.Condition()
        self._saved: collections.deque[np.ndarray] = collections.deque()
        self._newest: collections.deque[np.ndarray] = collections.deque(maxlen=_KEPT)
        self._fetched = 0
        self.waiting = 0

    def set_state(self, rollouts: list[np.ndarray], waiting: int) -> None:
        """Goes on with rollouts that were fetched, and the number of those that were not."""
        self._saved.extend(rollouts)
        self.waiting = waiting

    def inserted(self) -> None:
        """Says that another rollout is there."""
        with self._changed:
            self.waiting += 1
            self._changed.notify()

    def finish(self) -> None:
        """Ends the waiting for rollouts, now and from now on."""
        with self._changed:
            self._table = self._expected = None
            self._changed.notify_all()

    def fetch(self) -> np.ndarray | None:
        """Waits for a rollout and takes it from the queue; None when there will be no other.

        Raises:
            ReplayStarved: when none comes in time.
            ReplayUnavailable, ReplayRestarted: when the server is gone.
        """
        self._waits.check_begun()
        with self._waits.recording(), self._changed:
            self._wait()
            if self._table is None:
                return None
            rollout = self._saved.popleft() if self._saved else self._take()
            self._newest.append(rollout)
            self._fetched += 1
            return rollout

    def rollouts(self) -> Iterator[np.ndarray]:
        """The rollouts, each fetched when it is asked for, until there will be no other."""
        while (rollout := self.fetch()) is not None:
            yield rollout

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other threads from fetching."""
        with self._changed:
            yield

    def fetched_since(self, first: int) -> list[np.ndarray]:
        """The rollouts fetched from the `first` on, and those that were saved and are due still.

        Raises:
            ArgumentError: when the first was not fetched, or is not kept any more.
        """
        wanted = self._fetched - first
        if not 0 <= wanted <= len(self._newest):
            raise ArgumentError(
                f"{first} rollouts cannot have been learned from: {self._fetched} were fetched, "
                f"and the newest {len(self._newest)} are kept."
            )
        return list(self._newest)[len(self._newest) - wanted :] + list(self._saved)

    def _wait(self) -> None:
        def ready() -> bool:
            return bool(self._table is None or self._saved or self.waiting)

        def expected() -> bool:
            return self._expected is not None and self._expected()

        if not self._waits.until(self._changed, ready, _AWAITED, expected):
            self._table = self._expected = None

    def _take(self) -> np.ndarray:
        rollout = self._table.take(_AWAITED)
        self.waiting -= 1
        return rollout
