"""What holds the items of a replay, wherever that is."""

import abc
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasrl.experience.packing import Packer
from kerasrl.replay.account import ACCOUNT
from kerasrl.replay.waiting import Waiting


class Plan(NamedTuple):
    """What the table of a `Uniform` or a `Prioritized` replay is to be.

    Args:
        packer: `Packer` of its items.
        capacity: int, items.
        exponent: float, of priorities; None to sample uniformly.
        repeatable: bool, whether the same inserts and the same `rng` are to give the same batches.
        rng: `numpy.random.Generator`, to draw with.
        timeout: float, seconds that a call may wait.
    """

    packer: Packer
    capacity: int
    exponent: float | None
    repeatable: bool
    rng: np.random.Generator
    timeout: float

    @property
    def width(self) -> int:
        """int, bytes of a row as it is sampled."""
        return self.packer.dtype.itemsize + (0 if self.exponent is None else ACCOUNT)


class Table(abc.ABC):
    """What every table is asked for.

    Attributes:
        waiting: `Waiting`, shared by those who wait for it.
    """

    waiting: Waiting

    @abc.abstractmethod
    def write(self, directory: Path) -> None:
        """Writes all that it holds into a new directory.

        Raises:
            OSError: when it cannot be written.
        """

    @abc.abstractmethod
    def info(self, timeout: float) -> Any:
        """An account of it, to be had within some seconds: a `reverb.TableInfo`, or alike."""

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of everything; datasets end with an error."""


class QueueTable(Table):
    """Items, first in, first out; one of them may wait."""

    @abc.abstractmethod
    def insert(self, item: np.ndarray) -> None:
        """Sends an item on its way: uint8 `[1, D]`."""

    @abc.abstractmethod
    def flush(self, *, advice: str = "") -> None:
        """Waits until there is room for what was inserted, and it is there.

        Args:
            advice: str, what to do if there never is.

        Raises:
            ReplayError: when there is none in time.
        """

    @abc.abstractmethod
    def take(self, awaited: str) -> np.ndarray:
        """Takes out the oldest item, which is there: uint8 `[1, D]`."""


class SampledTable(Table):
    """Items that are sampled again and again, the oldest of which are dropped.

    Attributes:
        most: int, items that it can hold.
    """

    most: int

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """int, items that can be sampled once they are flushed."""

    @abc.abstractmethod
    def insert(self, rows: np.ndarray, priority: float) -> None:
        """Adds a structured array of items, all of one priority."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Waits until what was inserted can be sampled."""

    @abc.abstractmethod
    def update(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key; those of other keys do not count."""

    @abc.abstractmethod
    def reseed(self, rng: np.random.Generator | None) -> None:
        """Begins a new sequence of repeatable draws."""

    @abc.abstractmethod
    def dataset(self, batch_size: int, unpack: Any) -> tf.data.Dataset:
        """Endless batches, with replacement.

        Args:
            batch_size: int, B.
            unpack: callable from uint8 `[B, D]` to a batch; from `[B, D + 16]` where there are
                priorities, see `kerasrl.replay.account`.
        """

    @abc.abstractmethod
    def held(self) -> AbstractContextManager[None]:
        """Keeps other threads from drawing."""

    @abc.abstractmethod
    def get_state(self, batches: int) -> dict[str, Any]:
        """What `write` does not, to go on from; to be called while it is `held`.

        Args:
            batches: int, those of the newest dataset that were used.
        """

    @abc.abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
