"""Nests of plain values and arrays in JSON and npz files, which cannot run code."""

import io
import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kerasrl.errors import LoadError, SaveError
from kerasrl.files.archive import read_file

_ARRAY = "__array__"

#: What readers raise for files that say something else than they should.
DAMAGE = (
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_nest(path: Path, nest: Any) -> None:
    """Writes `<path>.json`, and `<path>.npz` with the arrays in it.

    Args:
        path: path without a suffix.
        nest: dicts with str keys, lists and tuples (which come back as lists) of None, bool, int,
            float, str and NumPy arrays and scalars without objects.

    Raises:
        SaveError: when there is something else in it.
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(_encoded(nest, arrays, path.name))
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    with open(path.with_suffix(".npz"), "wb") as file:
        np.savez(file, **{str(i): array for i, array in enumerate(arrays)})


def read_nest(path: Path) -> Any:
    """Reads what `write_nest` wrote.

    Raises:
        LoadError: when a file is missing or is not what `write_nest` writes.
    """
    try:
        nest = json.loads(read_file(path.with_suffix(".json")).decode("utf-8"))
        if not isinstance(nest, dict):
            raise LoadError("it is no dict")
        stored = io.BytesIO(read_file(path.with_suffix(".npz")))
        with zipfile.ZipFile(stored) as archive:
            if any(member.compress_type for member in archive.infolist()):
                raise LoadError("it is compressed, and could be of any size")
        with np.load(stored, allow_pickle=False) as arrays:
            return _decoded(nest, arrays)
    except (*DAMAGE, LoadError) as error:
        raise LoadError(f"{path}.json and .npz cannot be read: {error}.") from error


def _encoded(nest: Any, arrays: list[np.ndarray], place: str) -> Any:
    if isinstance(nest, dict) and all(isinstance(key, str) for key in nest):
        return {key: _encoded(value, arrays, f"{place}[{key!r}]") for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        return [_encoded(value, arrays, f"{place}[{i}]") for i, value in enumerate(nest)]
    if isinstance(nest, np.generic) and nest.dtype.names is None:
        return nest.item()
    if isinstance(nest, np.ndarray) and not nest.dtype.hasobject:
        arrays.append(nest)
        return {_ARRAY: str(len(arrays) - 1)}
    if nest is None or isinstance(nest, bool | int | float | str):
        return nest
    raise SaveError(
        f"{place} cannot be saved: {nest!r} of type {type(nest).__name__}. A state is made of "
        "dicts with str keys, lists, None, bool, int, float, str, and arrays of numbers."
    )


def _decoded(nest: Any, arrays: Any) -> Any:
    if isinstance(nest, dict):
        if set(nest) == {_ARRAY}:
            return arrays[nest[_ARRAY]]
        return {key: _decoded(value, arrays) for key, value in nest.items()}
    if isinstance(nest, list):
        return [_decoded(value, arrays) for value in nest]
    return nest
