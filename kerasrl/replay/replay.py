"""The interface of replays: where experience is stored and sampled from."""

import abc
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from kerasrl.errors import ReplayError
from kerasrl.experience.packing import Packer

_Self = TypeVar("_Self", bound="Replay")


class Replay(abc.ABC):
    """Where experience is stored and sampled from.

    `fit` asks a replay for its abilities, never for its class. It is a context manager that closes
    itself.

    Attributes:
        consumed: bool, whether each item is sampled once, as from a queue, rather than again and
            again.
        priorities: bool, whether batches have the `key` and the `weight` of every example, and
            `update_priorities` takes effect.
        fixed: bool, whether it is as it is, and nothing can be inserted.
    """

    consumed: bool = False
    priorities: bool = False
    fixed: bool = False

    @abc.abstractmethod
    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Makes ready to hold items of a spec, or goes on with what `save` wrote."""

    @property
    @abc.abstractmethod
    def packer(self) -> Packer:
        """`Packer` of the items."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """int, items that can be sampled."""

    @abc.abstractmethod
    def insert(self, rows: np.ndarray) -> None:
        """Adds a structured array of items, of the packer's dtype."""

    @abc.abstractmethod
    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Batches: dicts of nests of `[B, ...]` tensors.

        Where there are priorities, with `key`, int64 `[B]`, and `weight`, float32 `[B]`, or
        `[B, T]` where items have weights of their steps.
        """

    @abc.abstractmethod
    def save(self, directory: Path, batches: int) -> None:
        """Writes all that it takes to go on with `open(spec, seed, checkpoint=directory)`."""

    @abc.abstractmethod
    def failure(self) -> Exception | None:
        """The error behind the TensorFlow error that a dataset ended with; None if all is well."""

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of everything. Does nothing when it is closed."""

    def flush(self) -> None:  # noqa: B027
        """Waits until what was inserted can be sampled."""

    def finish(self) -> None:  # noqa: B027
        """Ends the datasets that wait for more."""

    def expect(self, begun: bool) -> None:  # noqa: B027
        """Says whether it is being filled; until then a dataset need not wait."""

    def update_priorities(self, keys: np.ndarray, priorities: np.ndarray) -> None:  # noqa: B027
        """Sets the priorities, float `[M]`, of the items with these keys, int64 `[M]`."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def not_open() -> ReplayError:
    """The error of a replay that is asked for what it has only while it is open."""
    return ReplayError("this replay is not open; fit() opens it, or call open(spec).")
