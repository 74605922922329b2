"""A directory of checkpoints, each of which is whole or is not taken for one."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasrl import system
from kerasrl.errors import ArgumentError, LoadError, MismatchError
from kerasrl.files.archive import read_file
from kerasrl.files.atomic import explained, replacing_directory
from kerasrl.files.listing import first_difference, listing
from kerasrl.files.nests import DAMAGE
from kerasrl.version import __version__
from kerasrl.warning import warn

_FORMAT = 1
_MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{12,})")
_LEFT_BEHIND = re.compile(r"\.step-\d+\.(partial|removed)(-.*)?")
_MOST_BYTES = 2**24  # of a manifest
_held: set[Path] = set()  # The directories that runs in this process use.


class CheckpointDirectory:
    """Holds the newest checkpoints of one run, which is the only one to use it.

    A checkpoint is a directory `step-000000012000`. It gets that name when all of it has reached
    the disk, with a manifest that lists the size and the SHA-256 of every file.

    Args:
        path: str or path, made if it is missing.
        max_to_keep: int, how many checkpoints are kept, at least 1.

    Raises:
        ArgumentError: when another run uses the directory.
        SaveError: when it cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], max_to_keep: int):
        self.path = Path(path)
        self._max_to_keep = max_to_keep
        with explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._take()
        for child in self.path.iterdir():
            if _LEFT_BEHIND.fullmatch(child.name):
                shutil.rmtree(child, ignore_errors=True)

    def close(self) -> None:
        """Lets other runs use the directory."""
        _held.discard(self._name)
        self._lock.close()

    @contextlib.contextmanager
    def writing(self, step: int) -> Iterator[Path]:
        """Gives an empty directory to fill; it becomes the newest checkpoint, and old ones go.

        Args:
            step: int, gradient steps of the run.

        Raises:
            SaveError: when it cannot be written; those before are as they were.
        """
        with replacing_directory(self.checkpoint(step)) as partial:
            yield partial
            _write_manifest(partial)
        for old in self._found()[self._max_to_keep :]:
            _remove(old)

    def checkpoint(self, step: int) -> Path:
        """The path of the checkpoint of a step."""
        return self.path / f"step-{step:012d}"

    def newest(self) -> Path | None:
        """The newest complete checkpoint; None when there is none at all.

        Warns of each that is not complete, and goes on to the one before.

        Raises:
            LoadError: when there are checkpoints and none is complete.
            MismatchError: when a newer version of kerasrl wrote the newest.
        """
        found = self._found()
        for checkpoint in found:
            fault = _fault(checkpoint)
            if fault is None:
                return checkpoint
            warn(f"{checkpoint} is not complete and is passed over: {fault}.")
        if found:
            raise LoadError(
                f"none of the {len(found)} checkpoints in {self.path} is complete. Restore the "
                "files from a copy, or begin anew with another directory."
            )
        return None

    def _take(self) -> Any:
        """Opens and locks a file, with a lock that workers which outlive a killed run do not have.

        Within a process it would not exclude anybody, and closing any file would give it up.
        """
        self._name = self.path.resolve()
        if self._name in _held:
            raise self._in_use()
        lock = open(self.path / ".lock", "a", opener=system.open_itself)  # noqa: SIM115
        try:
            system.lock(lock)
        except BlockingIOError as error:
            lock.close()
            raise self._in_use() from error
        _held.add(self._name)
        return lock

    def _in_use(self) -> ArgumentError:
        return ArgumentError(
            f"another run keeps its checkpoints in {self.path} at this moment. Wait for it to end, "
            "or give this run a directory of its own."
        )

    def _found(self) -> list[Path]:
        """All checkpoints, the newest first."""
        numbered = [(_NAME.fullmatch(child.name), child) for child in self.path.iterdir()]
        found = [(int(match[1]), child) for match, child in numbered if match]
        return [child for _, child in sorted(found, reverse=True)]


def _write_manifest(directory: Path) -> None:
    manifest = {"format": _FORMAT, "kerasrl": __version__, "files": listing(directory)}
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _fault(directory: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads(read_file(directory / _MANIFEST, _MOST_BYTES).decode("utf-8"))
        written_by, files = manifest["format"], manifest["files"]
        if written_by > _FORMAT:
            raise MismatchError(
                f"{directory} was written by kerasrl {manifest['kerasrl']!r:.40}, in a format that "
                f"kerasrl {__version__} does not know. Update kerasrl, or begin anew elsewhere."
            )
        return first_difference(directory, files)
    except MismatchError:
        raise
    except (*DAMAGE, LoadError) as error:
        return f"{type(error).__name__}: {error}"


def _remove(directory: Path) -> None:
    """Takes the name first, so that what is left of a removal is never taken for a checkpoint."""
    aside = directory.with_name(f".{directory.name}.removed")
    os.rename(directory, aside)
    shutil.rmtree(aside, ignore_errors=True)
