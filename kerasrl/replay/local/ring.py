"""A ring of rows: the newest take the place of the oldest."""

import os
import tempfile
import zlib
from pathlib import Path

import numpy as np

from kerasrl.errors import LoadError, SaveError

_FILE = "rows"


class Ring:
    """Rows of bytes in memory, or in a file of the system's that is mapped into it.

    Memory is taken as rows are written, a file's room at once: where a disk is full later, what is
    mapped ends the process.

    Args:
        capacity: int, rows.
        width: int, bytes of a row.
        directory: path of an existing directory for the file, which is gone with the ring; None
            for memory.

    Attributes:
        inserted: int, rows written so far; row i is at `i % capacity`.
        rows: uint8 `[capacity, width]`.

    Raises:
        SaveError: when the directory has no room for the file.
    """

    def __init__(self, capacity: int, width: int, directory: str | os.PathLike[str] | None = None):
        self.capacity = capacity
        self.inserted = 0
        shape = (capacity, width)
        self.rows = np.zeros(shape, np.uint8) if directory is None else _mapped(shape, directory)

    @property
    def size(self) -> int:
        """int, rows that it holds."""
        return min(self.inserted, self.capacity)

    def append(self, rows: np.ndarray) -> None:
        """Writes rows, uint8 `[N, width]`; of more than fit, the last."""
        self.inserted += max(0, len(rows) - self.capacity)
        rows = rows[-self.capacity :]
        begin = self.inserted % self.capacity
        first = rows[: self.capacity - begin]
        self.rows[begin : begin + len(first)] = first
        self.rows[: len(rows) - len(first)] = rows[len(first) :]
        self.inserted += len(rows)

    def write(self, directory: Path) -> None:
        """Writes the rows into a new directory."""
        directory.mkdir()
        with open(directory / _FILE, "wb") as file:
            # Not by NumPy, which does not notice a disk that is full at the end of a file.
            file.write(self.rows[: self.size].data)

    def checksum(self) -> int:
        """The CRC-32 of the rows."""
        return zlib.crc32(self.rows[: self.size].data)

    def read(self, directory: Path, inserted: int, checksum: int) -> None:
        """Takes over what `write` wrote.

        Args:
            directory: path.
            inserted: int, rows that had been written in all.
            checksum: int, what `checksum` was then.

        Raises:
            LoadError: when the file is damaged, or is not of so many rows.
        """
        path = directory / _FILE
        try:
            saved = np.fromfile(path, np.uint8)
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error}.") from error
        expected = min(inserted, self.capacity) * self.rows.shape[1]
        if len(saved) != expected:
            raise LoadError(f"{path} is damaged: it has {len(saved)} bytes in place of {expected}.")
        self.inserted = inserted
        self.rows[: self.size] = saved.reshape(self.size, -1)
        if self.checksum() != checksum:
            raise LoadError(f"{path} is damaged: its checksum is not what it was.")


def _mapped(shape: tuple[int, int], directory: str | os.PathLike[str]) -> np.ndarray:
    size = shape[0] * shape[1]
    try:
        # Gone when it is closed, whatever ends the process.
        with tempfile.TemporaryFile(dir=os.fspath(directory), prefix="kerasrl-replay-") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise SaveError(
            f"a replay of {shape[0]} items of {shape[1]} bytes cannot be mapped to a file in "
            f"directory={os.fspath(directory)!r}: {error.strerror}. It takes {size / 2**30:.2f} "
            "GiB. Name a directory that exists and has room for it, or lower capacity."
        ) from error
