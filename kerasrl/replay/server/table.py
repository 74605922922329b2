"""A table with its server, and what writes to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import reverb

from kerasrl.errors import ReplayError
from kerasrl.replay.server.loopback import LoopbackServer
from kerasrl.replay.server.watchdog import Watchdog

_AWAITED = "items to be inserted"


class ServedTable:
    """A table of one column in a server of its own, which is never waited for without end.

    Args:
        make_table: callable from a name to a new `reverb.Table`.
        port: int, or None for any free port.
        timeout: float, seconds that a call may wait.
        contents: path of a directory that `server.save` wrote, to begin with; None begins empty.

    Attributes:
        server: `LoopbackServer`.
        client: `reverb.Client`.
        watchdog: `Watchdog`.
    """

    def __init__(
        self,
        make_table: Callable[[str], reverb.Table],
        port: int | None,
        timeout: float,
        contents: Path | None,
    ):
        self.server = LoopbackServer(make_table, port, contents)
        self.client = reverb.Client(self.server.address)
        self.watchdog = Watchdog(self.server.address, self.server.table, timeout)
        self._writer = self.client.trajectory_writer(num_keep_alive_refs=1)

    def insert(self, item: np.ndarray, priority: float = 1.0) -> None:
        """Sends an item on its way.

        Raises:
            ReplayError: when the server is gone.
        """
        with self.watchdog.guarding(_AWAITED):
            self._writer.append(item)
            self._writer.create_item(self.server.table, priority, self._writer.history[-1])

    def flush(self, on_their_way: int = 0, advice: str = "") -> None:
        """Waits until no more than so many items are on their way.

        Args:
            on_their_way: int, items.
            advice: str, what to do if the table does not take in any more.

        Raises:
            ReplayError: when the server is gone, or the table stays full.
        """
        timeout = self.watchdog.wait
        with self.watchdog.guarding(_AWAITED):
            try:
                self._writer.flush(on_their_way, timeout_ms=round(1000 * timeout))
            except reverb.errors.DeadlineExceededError as error:
                self.watchdog.look(_AWAITED, timeout)
                raise ReplayError(
                    f"{timeout:g} s were spent waiting for {_AWAITED}, and the server took in none "
                    f"of them. {self.watchdog.holdings()} {advice}"
                ) from error

    def info(self, timeout: float) -> Any:
        """Reverb's account of the table, a `reverb.TableInfo`, to be had within some seconds."""
        return self.watchdog.look("an account of the table", patience=timeout)

    def close(self) -> None:
        """Stops the server; what is on its way is lost."""
        try:
            self.watchdog.close()
            self._writer.close()
        finally:
            self.server.stop()
