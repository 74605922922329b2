"""A list of the files in a directory by which it is known to be whole."""

import hashlib
from pathlib import Path
from typing import Any


def listing(directory: Path) -> dict[str, dict[str, Any]]:
    """Lists the files in a directory and below: by path, their `bytes` and their `sha256`."""
    return {name: _described(path) for name, path in _files(directory).items()}


def first_difference(directory: Path, listed: dict[str, dict[str, Any]]) -> str | None:
    """What is wrong with the first file that is not as it was `listed`; None if all are.

    Args:
        directory: path. Nothing out of it is looked at, whatever is listed.
        listed: dict that `listing` gave when the files were written; others may be there.

    Raises:
        OSError: when a file cannot be read.
    """
    found = _files(directory)
    for name, expected in listed.items():
        if name not in found:
            return f"{name} is missing"
        described = _described(found[name])
        if described["bytes"] != expected["bytes"]:
            return f"{name} has {described['bytes']} bytes instead of {expected['bytes']}"
        if described["sha256"] != expected["sha256"]:
            return f"{name} is not what was written"
    return None


def _files(directory: Path) -> dict[str, Path]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path for path in found}


def _described(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
