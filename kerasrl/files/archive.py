"""The members of a `.keras` file, read without trusting it."""

import dataclasses
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from kerasrl.errors import LoadError, UnsafeFileError
from kerasrl.system import open_to_read

METADATA, CONFIG, WEIGHTS = MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
_MOST_JSON = 8 * 2**20  # bytes
_DEEPEST_JSON = 100  # dicts and lists within one another; a network takes three or four
_MOST_DIRECTORY = 2**12  # bytes
_END, _END_64 = b"PK\5\6", b"PK\6\7"
_MOST_COMMENT = 2**16


@dataclasses.dataclass(frozen=True)
class Archive:
    """What a `.keras` file holds.

    Args:
        metadata: dict, what `metadata.json` says.
        config: dict, what `config.json` says.
        weights: bytes, an HDF5 file, not looked at.
        comment: bytes, the archive's own.
    """

    metadata: dict[str, Any]
    config: dict[str, Any]
    weights: bytes
    comment: bytes


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Reads the members of a `.keras` file.

    Nothing is extracted, and nothing is larger in memory than it is in the file.

    Raises:
        LoadError: when it is no such file, or is damaged.
        UnsafeFileError: when it holds anything else, or what it holds is compressed.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, size)
        try:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist(), size)
                metadata, config, weights = (archive.read(name) for name in MEMBERS)
                return Archive(_parsed(metadata), _parsed(config), weights, archive.comment)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as error:
            raise LoadError(f"it is damaged: {error}.") from error


def read_file(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Reads a whole file.

    Args:
        path: str or path.
        most: int, bytes that it may have.

    Raises:
        LoadError: when it is none, such as a named pipe, or has more.
    """
    with _opened(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise LoadError(f"it has more than {most} bytes.")
        return file.read()


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    descriptor = open_to_read(path)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise LoadError("it is a directory.")
    raise LoadError("it is not a file.")


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuses a long directory: zipfile makes an object of every entry before one can look."""
    file.seek(max(0, size - _MOST_COMMENT - 100))
    tail = file.read()
    plain = tail[-22:-18] == _END and tail[-2:] == b"\0\0"  # Where zipfile looks first.
    end = len(tail) - 22 if plain else tail.rfind(_END)
    if end < 0:
        raise LoadError("it is not a .keras file, or not the whole of one.")
    sizes = [tail[end + 12 : end + 16]]
    if end >= 76 and tail[end - 20 : end - 16] == _END_64:  # As in archives of more than 2 GiB.
        sizes.append(tail[end - 36 : end - 28])
    if any(int.from_bytes(size, "little") > _MOST_DIRECTORY for size in sizes):
        raise UnsafeFileError("it lists more members than a .keras file has.")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = sorted(member.orig_filename for member in members)
    if names != sorted(MEMBERS):
        listed = ", ".join(repr(name[:40]) for name in names)
        raise UnsafeFileError(
            f"it must hold exactly {', '.join(sorted(MEMBERS))}, each once; it holds {listed}."
        )
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            raise UnsafeFileError(f"{member.filename} is a link or encrypted.")
        stored = member.compress_type == zipfile.ZIP_STORED
        if not stored or member.file_size != member.compress_size:
            raise UnsafeFileError(
                f"{member.filename} is compressed, and could be of any size. Agents are saved "
                "without compression: save it again, or pack the same members uncompressed."
            )
        limit = size if member.filename == WEIGHTS else min(size, _MOST_JSON)
        if member.file_size > limit:
            raise UnsafeFileError(
                f"{member.filename} says that it has {member.file_size} bytes, of at most {limit}."
            )


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text.decode("utf-8"))
        if isinstance(parsed, dict) and _depth(parsed) <= _DEEPEST_JSON:
            return parsed
    except (ValueError, RecursionError) as error:
        raise LoadError(f"its JSON cannot be read: {error}.") from error
    raise UnsafeFileError(f"its JSON must be an object of at most {_DEEPEST_JSON} levels.")


def _depth(nest: Any) -> int:
    depth, level = 0, [nest]
    while level and depth <= _DEEPEST_JSON:
        depth, level = depth + 1, [child for value in level for child in _children(value)]
    return depth


def _children(value: Any) -> Iterator[Any]:
    values = value.values() if isinstance(value, dict) else value
    return (child for child in values if isinstance(child, dict | list))
