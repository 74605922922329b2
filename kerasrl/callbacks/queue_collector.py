"""Collecting what an update learns from, just before it."""

from typing import Any

from kerasrl.callbacks.collector import Collector


class QueueCollector(Collector):
    """The base of `CollectRollouts` and `CollectEpisodes`, which fill a queue.

    A pipeline may ask for the next item long before it is needed; the queue is told when one is to
    be there, so that a long collection or evaluation is not taken for a queue that starves.
    """

    stores_output = True

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments."""
        super().on_train_begin(logs)
        self._replay.expected = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Collects, if the update needs another item."""
        super().on_train_batch_begin(batch, logs)
        if self._due:
            self._refresh()
            self._collect()
            self._count()
        self._replay.expected = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the updates just done, and ends the run when the budget is used up."""
        self._replay.expected = False
        super().on_train_batch_end(batch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Ends the dataset, of which more may have been asked for ahead of time."""
        self._replay.finish()

    @property
    def _due(self) -> bool:
        """Whether the update that comes next needs another item."""
        return True

    def _collect(self) -> None:
        """Acts until an item is written."""
        raise NotImplementedError(f"{type(self).__name__} must define _collect().")
