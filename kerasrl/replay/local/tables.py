"""The tables of this process, with the same promises as those of a server."""

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasrl.errors import ReplayError
from kerasrl.files.nests import read_nest, write_nest
from kerasrl.replay.contents import damaged_if_wrong
from kerasrl.replay.dataset import on_demand
from kerasrl.replay.local.ring import Ring
from kerasrl.replay.local.samplers import PriorityRingSampler, RingSampler
from kerasrl.replay.tables import Plan, QueueTable, SampledTable
from kerasrl.replay.waiting import Waiting

_PREFETCHED = 4
_AWAITED = "items to be inserted"


class Completed(NamedTuple):
    """A count, as Reverb gives it.

    Args:
        completed: int.
    """

    completed: int


class RateLimiterInfo(NamedTuple):
    """What went in and came out, as Reverb tells it.

    Args:
        insert_stats: items inserted.
        sample_stats: items sampled.
    """

    insert_stats: Completed
    sample_stats: Completed


class TableInfo(NamedTuple):
    """An account of a table, with names that a `reverb.TableInfo` has too.

    Args:
        current_size: int, items in it.
        max_size: int, items that it can hold.
        rate_limiter_info: `RateLimiterInfo`.
    """

    current_size: int
    max_size: int
    rate_limiter_info: RateLimiterInfo

    @classmethod
    def of(cls, size: int, most: int, inserted: int, sampled: int) -> "TableInfo":
        """Makes one of four counts."""
        return cls(size, most, RateLimiterInfo(Completed(inserted), Completed(sampled)))

    def told(self) -> str:
        """What was held, as a sentence."""
        inserted, sampled = self.rate_limiter_info
        return (
            f"Its table held {self.current_size} items of at most {self.max_size}, with "
            f"{inserted.completed} inserted and {sampled.completed} sampled so far."
        )


class _Waiting(Waiting):
    """Tells of a table of this process."""

    def __init__(self, timeout: float, info: Any):
        super().__init__(timeout)
        self._info = info

    def holdings(self) -> str:
        return self._info().told()


class RingTable(SampledTable):
    """A ring of items, which can be sampled as soon as they are inserted.

    Args:
        plan: the `Plan`.
        directory: path of a directory, to have the items in a file there; None for memory.
        contents: path of a directory that `write` wrote; `set_state` is to follow. None is empty.
    """

    def __init__(self, plan: Plan, directory: str | os.PathLike | None, contents: Path | None):
        self.most = plan.capacity
        self._packer, self._repeatable = plan.packer, plan.repeatable
        self._width, self._contents = plan.width, contents
        self._ring = Ring(plan.capacity, plan.packer.dtype.itemsize, directory)
        self.waiting = _Waiting(plan.timeout, self.info)
        drawing = self._ring, plan.rng, self.waiting, plan.repeatable
        self._sampler = (
            RingSampler(*drawing)
            if plan.exponent is None
            else PriorityRingSampler(*drawing, plan.exponent)
        )

    @property
    def size(self) -> int:
        """int, items that can be sampled."""
        return self._ring.size

    def insert(self, rows: np.ndarray, priority: float) -> None:
        """Adds a structured array of items, all of one priority."""
        self._sampler.insert(self._packer.to_bytes(np.ascontiguousarray(rows)), priority)

    def flush(self) -> None:
        """Does nothing, as what is inserted is there."""

    def update(self, priorities: dict[int, float]) -> None:
        """Sets priorities by key; those of items that were dropped do not count."""
        self._sampler.update(priorities)

    def reseed(self, rng: np.random.Generator | None) -> None:
        """Begins a new sequence of draws."""
        self._sampler.reseed(rng)

    def dataset(self, batch_size: int, unpack: Any) -> tf.data.Dataset:
        """Endless batches, see `SampledTable.dataset`; repeatable ones are drawn when they are due.

        Others are drawn a little ahead of time, in a thread of their own.
        """
        batches = on_demand(self._sampler, self._width, unpack, batch_size)
        return batches if self._repeatable else batches.prefetch(_PREFETCHED)

    def held(self) -> AbstractContextManager[None]:
        """Keeps other threads from drawing."""
        return self._sampler.held()

    def get_state(self, batches: int) -> dict[str, Any]:
        """What `write` does not, to go on from; to be called while it is `held`."""
        return {
            "inserted": self._ring.inserted,
            "checksum": self._ring.checksum(),
            "sampled": self._sampler.sampled,
            "sampler": self._sampler.get_state(batches),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        if self._contents is not None:
            self._ring.read(self._contents, state["inserted"], state["checksum"])
        self._sampler.sampled = state["sampled"]
        self._sampler.set_state(state["sampler"])

    def write(self, directory: Path) -> None:
        """Writes the items into a new directory."""
        self._ring.write(directory)

    def info(self, timeout: float = 0.0) -> TableInfo:
        """An account of the ring."""
        return TableInfo.of(self.size, self.most, self._ring.inserted, self._sampler.sampled)

    def close(self) -> None:
        """Lets go of the items."""
        self._sampler.close()


class LocalQueue(QueueTable):
    """Items that are taken out by this process.

    Args:
        width: int, bytes of an item.
        timeout: float, seconds that a call may wait.
        contents: path of a directory that `write` wrote, to begin with; None is empty.

    Raises:
        LoadError: when the contents are damaged.
    """

    def __init__(self, width: int, timeout: float, contents: Path | None):
        self.waiting = _Waiting(timeout, self.info)
        self._changed = threading.Condition()
        self._items: list[np.ndarray] = []
        self._arriving: list[np.ndarray] = []
        self._inserted = self._taken = 0
        if contents is not None:
            self._read(contents, width)

    def insert(self, item: np.ndarray) -> None:
        """Has an item, uint8 `[1, D]`, wait for room."""
        self._arriving.append(item.copy())

    def flush(self, *, advice: str = "") -> None:
        """Puts what was inserted at the end, one after another; see `QueueTable.flush`."""
        with self._changed:
            while self._arriving:
                self._put(self._arriving.pop(0), advice)

    def _put(self, item: np.ndarray, advice: str) -> None:
        if not self._changed.wait_for(lambda: not self._items, self.waiting.wait):
            raise ReplayError(
                f"{self.waiting.wait:g} s were spent waiting for {_AWAITED}, and the queue took in "
                f"none of them. {self.waiting.holdings()} {advice}"
            )
        self._items.append(item)
        self._inserted += 1

    def take(self, awaited: str) -> np.ndarray:
        """Takes out the oldest item, which is there: uint8 `[1, D]`."""
        with self._changed:
            self._taken += 1
            self._changed.notify_all()
            return self._items.pop(0)

    def write(self, directory: Path) -> None:
        """Writes the items into a new directory."""
        directory.mkdir()
        with self._changed:
            state = {"inserted": self._inserted, "taken": self._taken, "items": self._items}
            write_nest(directory / "items", state)

    def info(self, timeout: float = 0.0) -> TableInfo:
        """An account of the queue."""
        return TableInfo.of(len(self._items), 1, self._inserted, self._taken)

    def close(self) -> None:
        """Does nothing; the items are gone with it."""

    def _read(self, directory: Path, width: int) -> None:
        state = read_nest(directory / "items")
        with damaged_if_wrong():
            self._inserted, self._taken = int(state["inserted"]), int(state["taken"])
            self._items = [np.asarray(item, np.uint8).reshape(1, width) for item in state["items"]]
