"""The store of this process."""

import os
from pathlib import Path
from typing import Any

from kerasrl.experience.packing import Packer
from kerasrl.replay.local.tables import LocalQueue, RingTable
from kerasrl.replay.tables import Plan


class LocalStore:
    """Makes tables in this process, see `kerasrl.replay.stores.Store`.

    Args:
        directory: path of a directory, to have sampled items in a file there; None for memory.
    """

    name = "local"

    def __init__(self, directory: str | os.PathLike | None = None):
        self.directory = directory

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What has to be the same where a table is gone on with."""
        return {"store": self.name}

    def sampled(self, plan: Plan, contents: Path | None) -> RingTable:
        """Makes a table that is sampled from."""
        return RingTable(plan, self.directory, contents)

    def queue(self, packer: Packer, timeout: float, contents: Path | None) -> LocalQueue:
        """Makes a queue."""
        return LocalQueue(packer.dtype.itemsize, timeout, contents)
