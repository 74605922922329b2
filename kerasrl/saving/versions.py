"""Which versions wrote a file."""

import json
import re
from typing import Any

import keras

from kerasrl.errors import MismatchError
from kerasrl.files.archive import Archive
from kerasrl.files.differences import table
from kerasrl.version import __version__


def check_versions(archive: Archive) -> None:
    """Raises `MismatchError` if a file was written by a newer kerasrl or Keras.

    Of Keras 2 and 3 neither is newer, as each can read what the other has written.
    """
    written = {"kerasrl": _kerasrl(archive), "keras": archive.metadata.get("keras_version")}
    here = {"kerasrl": __version__, "keras": keras.__version__}
    rows = [
        (name, here[name], version)
        for name, version in written.items()
        if _is_newer(name, _numbers(version), _numbers(here[name]))
    ]
    if rows:
        raise MismatchError(
            f"it was written by a newer version:\n{table(rows)}\nUse that version to load it."
        )


def _is_newer(name: str, written: tuple[int, int], here: tuple[int, int]) -> bool:
    of_other_stack = name == "keras" and {written[0], here[0]} == {2, 3}
    return not of_other_stack and written > here


def _kerasrl(archive: Archive) -> Any:
    try:
        comment = json.loads(archive.comment)
    except (ValueError, RecursionError):
        return None  # Another program has packed it.
    return comment.get("kerasrl") if isinstance(comment, dict) else None


def _numbers(version: Any) -> tuple[int, int]:
    """The first two numbers of a version; zeros for what is none."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})", version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else (0, 0)
