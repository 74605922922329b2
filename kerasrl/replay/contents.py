"""What a replay holds, in a directory: its table's files, and the rest in JSON and npz."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kerasrl.errors import LoadError, MismatchError
from kerasrl.experience.packing import Packer
from kerasrl.files import differences
from kerasrl.files.atomic import explained
from kerasrl.files.nests import read_nest, write_nest
from kerasrl.replay.tables import Table

_STATE = "state"
_TABLE = "table"


def write(directory: Path, table: Table, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes into an existing directory.

    Args:
        directory: path.
        table: the `Table` to be saved.
        settings: dict of plain values, which have to be the same where it is read.
        state: dict, the nest of plain values and arrays to save besides.

    Raises:
        SaveError: when it cannot be written.
    """
    with explained(directory):
        table.write(directory / _TABLE)
        write_state(directory, settings, state)


def write_state(directory: Path, settings: dict[str, Any], state: dict[str, Any]) -> None:
    """Writes what `write` writes besides the table."""
    with explained(directory):
        write_nest(directory / _STATE, {"settings": settings, **state})


def read(directory: Path, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Reads what `write` wrote, but for the table.

    Args:
        directory: path.
        settings: dict of plain values, those asked for.

    Returns:
        The path of the directory that `Table.write` wrote, and the nest.

    Raises:
        LoadError: when it cannot be read.
        MismatchError: when it was saved with other settings.
    """
    state = read_nest(directory / _STATE)
    if not isinstance(state, dict) or "settings" not in state:
        raise LoadError(f"{directory} does not hold a replay.")
    check_same(directory, settings, state["settings"])
    return directory / _TABLE, state


def check_same(directory: Path, here: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raises a `MismatchError` with a table of the differences, if there are any."""
    rows = differences.compare(here, saved)
    if rows:
        raise MismatchError(
            f"the replay in {directory} was saved with other settings:\n{differences.table(rows)}\n"
            "Use those, or leave the replay out."
        )


@contextlib.contextmanager
def damaged_if_wrong() -> Iterator[None]:
    """Turns the errors of taking over a state that is none into a `LoadError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise LoadError(f"the saved replay is damaged: {type(error).__name__}: {error}.") from error


def layout(packer: Packer) -> dict[str, str]:
    """The dtypes and shapes of every column, for `settings`."""
    return {
        key: ", ".join(_described(packer.dtype[field]) for field in fields)
        for key, fields in packer.fields.items()
    }


def _described(dtype: np.dtype) -> str:
    return f"{dtype.base} {list(dtype.shape)}"
