"""Drawing batches on demand, and remembering those that were drawn and not used."""

import abc
import collections
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasrl.errors import ArgumentError, ReplayError
from kerasrl.replay.waiting import Waiting

_AWAITED = "something to sample"
_REMEMBERED = 8  # Draws; pipelines ask for a few ahead of time.


class Sampler(abc.ABC):
    """Draws batches of rows from a NumPy generator, one draw at a time.

    The same seed and the same inserts give the same batches.

    Args:
        rng: `numpy.random.Generator`.
        waiting: `Waiting` of the replay.
        remembers: bool, whether what was drawn and not used can be had again.
    """

    def __init__(self, rng: np.random.Generator, waiting: Waiting, remembers: bool = True):
        self._rng = rng
        self._waiting = waiting
        self._remembers = remembers
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._rest: np.ndarray | None = None
        self._forget()

    @abc.abstractmethod
    def _draw(self, batch_size: int) -> np.ndarray:
        """Draws uint8 `[K, B, D]`, while it is held."""

    @abc.abstractmethod
    def _require_rows(self) -> None:
        """Sees that there is something to draw from, while it is held."""

    def reseed(self, rng: np.random.Generator | None) -> None:
        """Lets go of batches drawn already, and draws from another generator if one is given."""
        with self.held():
            self._rest = None
            self._forget()
            self._rng = self._rng if rng is None else rng

    def close(self) -> None:
        """Ends sampling; to be called before what it draws from is gone."""
        self._closed = True
        with contextlib.suppress(ReplayError), self.held():
            self._changed.notify_all()  # And a draw that is under way ends first.

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other threads from drawing.

        Raises:
            ReplayError: when one of them does not end.
        """
        if not self._lock.acquire(timeout=2 * self._waiting.wait):
            raise self._waiting.explain(_AWAITED, TimeoutError("another draw does not end"))
        try:
            yield
        finally:
            self._lock.release()

    def draws(self, batch_size: int) -> Iterator[np.ndarray]:
        """Draws batches for ever, beginning with those that were drawn before the state was saved.

        Args:
            batch_size: int, B.

        Returns:
            Iterator over uint8 `[K, B, D]`: as many batches as are drawn at once, or are left.
        """
        self._waiting.check_begun()
        with self.held():
            rest, self._rest = self._rest, None
            self._forget()
            if rest is not None and rest.shape[1] == batch_size:
                self._drawn.append(rest)
        if self._drawn:
            yield self._drawn[0]
        while True:
            yield self.draw(batch_size)

    def draw(self, batch_size: int) -> np.ndarray:
        """Draws some batches.

        Args:
            batch_size: int, B.

        Returns:
            uint8 `[K, B, D]`: K batches of B rows of D bytes.

        Raises:
            ReplayError: when there is nothing to draw from.
        """
        with self._waiting.recording(), self.held():
            self._require_open()
            self._require_rows()
            drawn = self._draw(batch_size)
            if self._remembers:
                self._remember(drawn)
        return drawn

    def get_state(self, batches: int) -> dict[str, Any]:
        """What it takes to go on drawing; to be called while it is `held`.

        Args:
            batches: int, those used since the newest pipeline began.

        Raises:
            ArgumentError: when so many cannot have been used.
        """
        return {
            "random": self._rng.bit_generator.state,
            "rest": self._rest if self._rest is not None else self._left_after(batches),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._rng.bit_generator.state = state["random"]
        self._rest = state["rest"]

    def _require_open(self) -> None:
        if self._closed:
            raise ReplayError("the replay that these batches are drawn from is closed.")

    def _remember(self, drawn: np.ndarray) -> None:
        if len(self._drawn) == _REMEMBERED:
            self._forgotten += len(self._drawn.popleft())
        self._drawn.append(drawn)

    def _forget(self) -> None:
        self._drawn: collections.deque[np.ndarray] = collections.deque()
        self._forgotten = 0

    def _left_after(self, batches: int) -> np.ndarray | None:
        """The batches drawn and not used, `[N, B, D]`."""
        if not self._remembers:
            return None
        left, used = list(self._drawn), batches - self._forgotten
        while left and used >= len(left[0]) > 0:
            used -= len(left.pop(0))
        if used < 0 or (used and not left):
            raise ArgumentError(
                f"batches={batches} cannot have been used: {self._forgotten} and the newest "
                f"{sum(map(len, self._drawn))} were drawn since the dataset began."
            )
        return np.concatenate([left[0][used:], *left[1:]]) if left else None
