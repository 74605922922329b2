"""Writing aside and moving into place, so that what was there before is never harmed."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from kerasrl.errors import KerasRLError, SaveError
from kerasrl.system import exchange, sync

_numbers = itertools.count()


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path to write a file to, which takes the place of `path` when it is whole.

    A full disk, an error or a kill leaves the previous file as it was.

    Args:
        path: str or path; its directory must exist.

    Raises:
        SaveError: when the file cannot be written.
    """
    path = Path(path)
    partial = partial_path(path)
    try:
        with explained(path):
            yield partial
            sync(partial)
            os.replace(partial, path)
            sync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # It is gone, or never came to be.
            partial.unlink()


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives an empty directory to fill, which takes the place of `path` when it is whole.

    Args:
        path: str or path; the directory it is in is made if it is missing.

    Raises:
        SaveError: when something in it cannot be written.
    """
    path = Path(path)
    partial = partial_path(path)
    try:
        with explained(path):
            partial.mkdir(parents=True)
            yield partial
            for directory, _, names in os.walk(partial):
                for name in names:
                    sync(Path(directory, name))
                sync(Path(directory))
            if path.exists():
                _exchange(partial, path)
            else:
                os.rename(partial, path)
            sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns a failure to write into a `SaveError` that says where and how much room is left."""
    try:
        yield
    except KerasRLError:
        raise
    except (OSError, tf.errors.OpError) as error:
        raise SaveError(
            f"{path} could not be written: {_reason(error)}. What was there before is as it was. "
            f"{_room(path)} {_way_out(error)}"
        ) from error


def partial_path(path: Path) -> Path:
    """A name beside `path`, hidden, that no other save uses; it has the same suffixes."""
    stem, suffixes = path.name, "".join(path.suffixes[-2:])
    return path.with_name(
        f".{stem.removesuffix(suffixes)}.partial-{os.getpid()}-{next(_numbers)}{suffixes}"
    )


def _exchange(one: Path, other: Path) -> None:
    """Swaps two names at once where the file system can, else one after the other."""
    if exchange(one, other):
        return
    aside = partial_path(other)
    os.rename(other, aside)
    os.rename(one, other)
    os.rename(aside, one)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _way_out(error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return "That is a directory; give the name of a file."
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "A file has the name of a directory that is needed; use another name."
    if isinstance(error, FileNotFoundError):
        return "The directory that it is to be in does not exist; make it first."
    return "Make room, or write elsewhere."


def _room(path: Path) -> str:
    parent = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    with contextlib.suppress(OSError):
        return f"{parent} has {shutil.disk_usage(parent).free / 2**20:.0f} MiB free."
    return ""
