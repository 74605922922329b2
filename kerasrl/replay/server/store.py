"""The store of a Reverb server."""

from pathlib import Path
from typing import Any

import reverb
import tensorflow as tf

from kerasrl.experience.packing import Packer
from kerasrl.replay.server.block_table import BlockTable, PriorityTable
from kerasrl.replay.server.blocks import rows_per_block
from kerasrl.replay.server.table import ServedTable
from kerasrl.replay.tables import Plan


class ReverbStore:
    """Makes tables, each in a server of its own; see `kerasrl.replay.stores.Store`.

    Args:
        port: int, port of the server; None picks a free one.
    """

    name = "reverb"

    def __init__(self, port: int | None = None):
        self.port = port

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What has to be the same where a table is gone on with."""
        return {"rows in a block": rows_per_block(plan)}

    def sampled(self, plan: Plan, contents: Path | None) -> BlockTable:
        """Makes a table that is sampled from."""
        kind = BlockTable if plan.exponent is None else PriorityTable
        return kind(plan, self.port, contents)

    def queue(self, packer: Packer, timeout: float, contents: Path | None) -> ServedTable:
        """Makes a queue."""
        item = tf.TensorSpec((1, packer.dtype.itemsize), tf.uint8, name="rollout")
        return ServedTable(
            lambda name: reverb.Table.queue(name, max_size=1, signature=item),
            self.port,
            timeout,
            contents,
        )
