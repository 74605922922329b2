"""What every replay has that is filled: a table in a store, from opening to closing."""

import abc
import atexit
import contextlib
import os
import weakref
from typing import Any

from kerasrl.errors import ReplayError
from kerasrl.experience.packing import Packer
from kerasrl.replay.replay import Replay, not_open
from kerasrl.replay.stores import Store
from kerasrl.replay.waiting import check_timeout

_made: "weakref.WeakSet[StoredReplay]" = weakref.WeakSet()


class StoredReplay(Replay):
    """The base of `Uniform` and `Queue`.

    Args:
        store: `Store` that makes its table.
        timeout: float, seconds that a call may wait.

    Attributes:
        store: str, where it keeps its items: `"local"` or `"reverb"`.
    """

    def __init__(self, store: Store, timeout: float):
        self.store = store.name
        self._store = store
        self._timeout = check_timeout(timeout)
        self._table: Any = None  # The `Table` while it is open.
        self._packer: Any = None
        self._process: int = os.getpid()
        _made.add(self)

    @property
    def packer(self) -> Packer:
        """`Packer` of what it holds.

        Raises:
            ReplayError: when it is not open.
        """
        self._require_open()
        return self._packer

    def expect(self, begun: bool) -> None:
        """Says whether it is being filled; until then its datasets end with an error at once."""
        if self._table is None:
            return
        waiting = self._table.waiting
        if begun and not waiting.begun:
            waiting.failure = None  # What was asked for too early is of no account.
        waiting.begun = begun

    def failure(self) -> ReplayError | None:
        """The error behind the TensorFlow error that a dataset ended with; None if all is well."""
        return None if self._table is None else self._table.waiting.find_failure()

    def info(self, timeout: float = 10) -> Any:
        """An account of the table, whose items are rollouts, transitions, or blocks of them.

        Args:
            timeout: float, seconds to wait for a server.

        Returns:
            `reverb.TableInfo`; of a local store, a tuple with the names `current_size`, `max_size`
            and, in `rate_limiter_info`, `insert_stats.completed` and `sample_stats.completed`.

        Raises:
            ReplayError: when the server is gone.
        """
        self._require_open()
        return self._table.info(timeout)

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of everything. Does nothing when it is closed."""

    def _require_open(self) -> None:
        if self._table is None:
            raise not_open()


@atexit.register
def close_all() -> None:
    """Closes what was left open while Python is still there: Reverb's threads would go on without.

    A process that was forked from the one with the servers has none of their threads.
    """
    for replay in list(_made):
        with contextlib.suppress(Exception):  # The others are to be closed nevertheless.
            if replay._process == os.getpid():
                replay.close()
