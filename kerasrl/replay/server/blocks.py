"""Blocks: successive transitions that are stored, and sampled, together."""

from collections.abc import Iterator

import numpy as np

from kerasrl.experience.packing import Packer
from kerasrl.replay.tables import Plan

_MOST_ROWS = 64
_FEWEST_ROWS = 16
_MOST_BYTES = 64 * 1024


class BlockBuffer:
    """Gathers transitions until they fill a block.

    Args:
        packer: `Packer` of a transition.
        rows: int, transitions in a block.
    """

    def __init__(self, packer: Packer, rows: int):
        self._packer = packer
        self._rows = packer.rows(rows)
        self._filled = 0

    def append(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Adds transitions, and gives every block that they fill.

        Args:
            rows: structured array of the packer's dtype, any length.

        Returns:
            Iterator over uint8 `[K, row bytes]`, each valid until the next.
        """
        while len(rows):
            taken = rows[: len(self._rows) - self._filled]
            self._rows[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rows = rows[len(taken) :]
            if self._filled == len(self._rows):
                self._filled = 0
                yield self._packer.to_bytes(self._rows)

    @property
    def packed(self) -> np.ndarray:
        """uint8 `[N, row bytes]`, the transitions that are waiting for their block to be full."""
        return self._packer.to_bytes(self._rows[: self._filled])

    @packed.setter
    def packed(self, rows: np.ndarray) -> None:
        self._rows[: len(rows)] = self._packer.from_bytes(rows)
        self._filled = len(rows)


def rows_per_block(plan: Plan) -> int:
    """Items in a block: a divisor of the capacity, if there is one of a good size."""
    if plan.exponent is not None:
        return 1  # A priority is one item's.
    most = max(1, min(_MOST_ROWS, plan.capacity, _MOST_BYTES // plan.packer.dtype.itemsize))
    fewest = min(most, _FEWEST_ROWS)
    divisors = [rows for rows in range(most, fewest - 1, -1) if plan.capacity % rows == 0]
    return divisors[0] if divisors else most
