"""What macOS and Windows have not, or have otherwise than Linux, and what stands for it there."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import context
from pathlib import Path
from typing import IO, Any, BinaryIO

_AT_FDCWD = -100  # Relative paths are relative to the working directory.
_RENAME_EXCHANGE = 2  # Linux, linux/fs.h
_RENAME_SWAP = 2  # macOS, sys/stdio.h
_LONGEST_POLL = 1e6  # Seconds; its milliseconds are a C int.
_SIGKILL = 9


def open_to_read(path: str | os.PathLike[str]) -> int:
    """A descriptor of a file's bytes; a named pipe is not waited for, where there are any."""
    return os.open(path, os.O_RDONLY | _flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def open_itself(path: str, flags: int) -> int:
    """An opener for `open`, of a file that is no link to another, and that is not waited for."""
    return os.open(path, flags | _flags("O_NOFOLLOW", "O_NONBLOCK"), 0o644)


def lock(file: IO[Any]) -> None:
    """Locks an open file until it is closed, against other processes.

    The processes that this one has forked do not hold it, so that they may outlive it.

    Raises:
        BlockingIOError: when another process has locked it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(error.errno, error.strerror) from error
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync(path: Path) -> None:
    """Waits until a file has reached the disk, and a directory, where those can be opened."""
    windows = sys.platform == "win32"
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two names at once; False where the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    with contextlib.suppress(AttributeError, OSError, TypeError):  # There is no such function.
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return libc.renamex_np(*names, _RENAME_SWAP) == 0
        return libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0
    return False


def file_in_memory(name: str) -> BinaryIO:
    """A file to write to and to read from, in memory on Linux, elsewhere on the disk; nameless."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(name), "w+b")
    return tempfile.TemporaryFile()


def was_forked(process: Any) -> bool:
    """Whether a process of `multiprocessing` is a fork of the one that started it."""
    by_default = type(process) is multiprocessing.Process
    return isinstance(process, getattr(context, "ForkProcess", ())) or (
        by_default and multiprocessing.get_start_method() == "fork"
    )


def meaning(code: int) -> str:
    """What to add to an exit code of a process that a signal ended."""
    if code == -_SIGKILL:
        return " (SIGKILL, which the kernel sends when memory runs out)"
    return f" ({signal.Signals(-code).name})" if code < 0 else ""


def wait_for_all(pipes: Sequence[Any], seconds: float) -> bool:
    """Waits until there is something to read from every pipe.

    Args:
        pipes: connections of `multiprocessing`.
        seconds: float, how long at most.

    Returns:
        bool, whether there is.

    Raises:
        EOFError: as soon as the other side of one has ended and nothing is left to be read.
    """
    waiting = _Poll(pipes) if hasattr(select, "poll") else _Wait(pipes)
    missing, deadline = len(pipes), time.monotonic() + seconds
    while missing:
        ready = waiting.some(min(max(0.0, deadline - time.monotonic()), _LONGEST_POLL))
        if not ready:
            return False
        missing -= ready
    return True


class _Poll:
    """Waits by `select.poll`, which tells of those that have ended."""

    def __init__(self, pipes: Sequence[Any]):
        self._poll = select.poll()
        for pipe in pipes:
            self._poll.register(pipe.fileno(), select.POLLIN)

    def some(self, seconds: float) -> int:
        """How many there is something to read from, that there was nothing before."""
        ready = self._poll.poll(1_000 * seconds)
        for descriptor, event in ready:
            if event & select.POLLHUP and _is_at_end(descriptor):
                raise EOFError("a worker has ended")
            self._poll.unregister(descriptor)
        return len(ready)


class _Wait:
    """Waits as `multiprocessing` does on Windows."""

    def __init__(self, pipes: Sequence[Any]):
        self._pipes = list(pipes)

    def some(self, seconds: float) -> int:
        """How many there is something to read from, that there was nothing before."""
        ready = multiprocessing.connection.wait(self._pipes, seconds)
        for pipe in ready:
            try:
                if sys.platform != "win32" and _is_at_end(pipe.fileno()):  # type: ignore[union-attr]
                    raise EOFError("a worker has ended")
                pipe.poll(0)  # type: ignore[union-attr]  # There, it raises when it has ended.
            except OSError as error:
                raise EOFError("a worker has ended") from error
            self._pipes.remove(pipe)
        return len(ready)


def _is_at_end(descriptor: int) -> bool:
    """Whether nothing is left to be read from a connection that the other side has closed."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        return not connection.recv(1, socket.MSG_PEEK)


def _flags(*names: str) -> int:
    """Flags of `os.open`, those that the system has."""
    flags = 0
    for name in names:
        flags |= getattr(os, name, 0)
    return flags
