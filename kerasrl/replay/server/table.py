"""A table with its server, and what writes to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import reverb

from kerasrl.errors import ReplayError
from kerasrl.native_log import muted
from kerasrl.replay.server.loopback import LoopbackServer
from kerasrl.replay.server.watchdog import Watchdog
from kerasrl.replay.tables import QueueTable

_AWAITED = "items to be inserted"


class ServedTable(QueueTable):
    """A table of one column in a server of its own, which is never waited for without end.

    Args:
        make_table: callable from a name to a new `reverb.Table`.
        port: int, or None for any free port.
        timeout: float, seconds that a call may wait.
        contents: path of a directory that `server.save` wrote, to begin with; None begins empty.

    Attributes:
        server: `LoopbackServer`.
        client: `reverb.Client`.
        waiting: `Watchdog`.
    """

    waiting: Watchdog

    def __init__(
        self,
        make_table: Callable[[str], reverb.Table],
        port: int | None,
        timeout: float,
        contents: Path | None,
    ):
        self.server = LoopbackServer(make_table, port, contents)
        self.client = reverb.Client(self.server.address)
        self.waiting: Watchdog = Watchdog(self.server.address, self.server.table, timeout)
        self._writer = self.client.trajectory_writer(num_keep_alive_refs=1)

    def insert(self, item: np.ndarray, priority: float = 1.0) -> None:
        """Sends an item on its way.

        Raises:
            ReplayError: when the server is gone.
        """
        with self.waiting.guarding(_AWAITED):
            self._writer.append(item)
            self._writer.create_item(self.server.table, priority, self._writer.history[-1])

    def flush(self, on_their_way: int = 0, *, advice: str = "") -> None:
        """Waits until no more than so many items are on their way.

        Args:
            on_their_way: int, items.
            advice: str, what to do if the table does not take in any more.

        Raises:
            ReplayError: when the server is gone, or the table stays full.
        """
        timeout = self.waiting.wait
        with self.waiting.guarding(_AWAITED):
            try:
                self._writer.flush(on_their_way, timeout_ms=round(1000 * timeout))
            except reverb.errors.DeadlineExceededError as error:
                self.waiting.look(_AWAITED, timeout)
                raise ReplayError(
                    f"{timeout:g} s were spent waiting for {_AWAITED}, and the server took in none "
                    f"of them. {self.waiting.holdings()} {advice}"
                ) from error

    def take(self, awaited: str) -> np.ndarray:
        """Takes the next item, which is there, out of a queue.

        Args:
            awaited: str, what an item is, for errors.
        """

        def sampled() -> np.ndarray:
            return next(
                self.client.sample(self.server.table, num_samples=1, emit_timesteps=False)
            ).data[0]

        with muted():
            return self.waiting.bounded(sampled, awaited)

    def write(self, directory: Path) -> None:
        """Writes all that it holds into a new directory."""
        self.server.save(directory)

    def info(self, timeout: float) -> Any:
        """Reverb's account of the table, a `reverb.TableInfo`, to be had within some seconds."""
        return self.waiting.look("an account of the table", patience=timeout)

    def close(self) -> None:
        """Stops the server; what is on its way is lost."""
        try:
            self.waiting.close()
            self._writer.close()
        finally:
            self.server.stop()
