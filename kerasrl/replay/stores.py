"""Choosing where a replay keeps its items: in a Reverb server, or in the memory of this process."""

import os
from pathlib import Path
from typing import Any, Protocol

from kerasrl._stack import reverb_is_there
from kerasrl.arguments import whole
from kerasrl.errors import ArgumentError
from kerasrl.experience.packing import Packer
from kerasrl.replay.local.store import LocalStore
from kerasrl.replay.tables import Plan, QueueTable, SampledTable


class Store(Protocol):
    """Makes the tables of replays.

    Attributes:
        name: str, what a user calls it.
    """

    name: str

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What has to be the same where a table is gone on with."""

    def sampled(self, plan: Plan, contents: Path | None) -> SampledTable:
        """Makes a table that is sampled from, empty or with what `write` wrote."""

    def queue(self, packer: Packer, timeout: float, contents: Path | None) -> QueueTable:
        """Makes a queue, empty or with what `write` wrote."""


def chosen(
    store: str, port: int | None = None, directory: str | os.PathLike | None = None
) -> Store:
    """The store that a replay was asked to have.

    Args:
        store: str, `"reverb"`, `"local"`, or `"auto"`: Reverb where it is installed.
        port: int, for a Reverb server; None picks a free one.
        directory: path of a directory for the items of a local store; None for memory.

    Raises:
        ArgumentError: when there is no such store, Reverb is not installed, or something is asked
            for that the store does not have.
    """
    port = whole("port", port, optional=True)
    if store not in ("auto", "local", "reverb"):
        raise ArgumentError(f'store must be "auto", "local" or "reverb"; received {store!r}.')
    if store == "auto":
        store = "reverb" if reverb_is_there() and directory is None else "local"
    if store == "local":
        if port is not None:
            raise ArgumentError(
                f"port={port} is a Reverb server's, and this replay is in the memory of this "
                'process. Leave port out, or have a Reverb server by store="reverb".'
            )
        return LocalStore(directory)
    if directory is not None:
        raise ArgumentError(
            f"directory={os.fspath(directory)!r} is a local store's, and a Reverb server has its "
            'items in memory. Leave directory out, or pass store="local".'
        )
    if not reverb_is_there():
        raise ArgumentError(
            'store="reverb" needs Reverb, which has releases for Python 3.10 and 3.11 on Linux '
            'x86-64 with TensorFlow 2.15 alone, see docs/install.md. Pass store="auto" or "local".'
        )
    # Not before it is asked for, as it cannot be imported elsewhere.
    from kerasrl.replay.server.store import ReverbStore

    return ReverbStore(port)
