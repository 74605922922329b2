"""Arrays out of an HDF5 file, read without the HDF5 library and without trusting the file.

The library does whatever a file says: it follows links to other files, allocates what is declared,
and has been made to overwrite its memory by files made for it. What Keras writes needs little of
the format, so that it is read here, byte by byte, and everything else is refused: links, storage
elsewhere, virtual datasets, chunks, filters, references, and types other than plain numbers.

Reference:
    The HDF Group, "HDF5 file format specification", version 3.0; sections in brackets below.
"""

import struct
from typing import Any

import h5py
import numpy as np

from kerasrl.errors import LoadError, UnsafeFileError

_NOWHERE = 2**64 - 1
_MOST_OBJECTS = 50_000
_MOST_MESSAGES = 20 * _MOST_OBJECTS
_MOST_TEXT = 2**24  # characters of all paths
_DEEPEST = 64  # groups within one another
_LONGEST_NAME = 256  # bytes
_SUPERBLOCK = struct.Struct("<8s8s2HL4Q")  # [II.A], version 0
_ENTRY = struct.Struct("<2QL4x16s")  # [III.C]
_PREFIX = struct.Struct("<BxHLL4x")  # [IV.A.1.a]
_MESSAGE = struct.Struct("<HHB3x")
_NODE = struct.Struct("<4s2BH16x")  # [III.A.1]
_SYMBOLS = struct.Struct("<4sBxH")  # [III.B]
_HEAP = struct.Struct("<4sB3x3Q")  # [III.D]
_TWO = struct.Struct("<2Q")

# Messages of object headers [IV.A.2].
_NIL, _DATASPACE, _DATATYPE, _LAYOUT, _CONTINUATION, _SYMBOL_TABLE = 0, 1, 3, 8, 16, 17
_UNUSED = {_NIL, 4, 5, 18}  # Nothing, values to fill with, time of modification.
_GROUP, _DATASET = {_SYMBOL_TABLE}, {_DATASPACE, _DATATYPE, _LAYOUT}
_REFUSED = {
    2: "links of the new kind",
    6: "links of the new kind",
    7: "its data in another file",
    11: "filters",
    12: "attributes",
}
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Reads every dataset of an HDF5 file such as `Model.save_weights` writes.

    The arrays are views of `data`: no more memory is used than the file has bytes, whatever it
    declares.

    Args:
        data: bytes, the whole file.

    Returns:
        dict from the path, such as `"layers/dense/vars/0"`, to the array.

    Raises:
        LoadError: when it is damaged.
        UnsafeFileError: when it holds anything but groups and plain arrays of numbers.
    """
    try:
        return _Reader(data).read()
    except LoadError:
        raise
    except (struct.error, ValueError, OverflowError) as error:
        raise LoadError(f"the HDF5 file in it is damaged: {error}.") from error


def _number_types() -> dict[bytes, np.dtype]:
    """The bytes that the message of a datatype has for each type, without the two of h5py."""
    dtypes = [np.dtype(name) for name in _NUMBERS]
    return {h5py.h5t.py_create(dtype, logical=True).encode()[2:]: dtype for dtype in dtypes}


class _Reader:
    def __init__(self, data: bytes):
        self.data = data
        self.arrays: dict[str, np.ndarray] = {}
        self.seen: set[int] = set()
        self.declared = self.messages = self.text = 0
        self.types = _number_types()

    def read(self) -> dict[str, np.ndarray]:
        signature, versions, _, _, _, base, _, end, _ = _SUPERBLOCK.unpack_from(self.data)
        if signature != b"\x89HDF\r\n\x1a\n":
            raise LoadError("the weights in it are not an HDF5 file.")
        if versions != bytes([0, 0, 0, 0, 0, 8, 8, 0]) or base != 0:  # All 0, addresses of 8 bytes.
            raise UnsafeFileError("the HDF5 file in it is of a version that Keras does not write.")
        if end > len(self.data):
            raise LoadError("the HDF5 file in it is cut off.")
        self._object(self._entry(_SUPERBLOCK.size)[1], "", 0)
        return self.arrays

    def _unpack(self, layout: struct.Struct, address: int, signature: bytes) -> list[Any]:
        self._once(address)
        found, *values = layout.unpack_from(self.data, self._checked(address))
        if found != signature:
            raise LoadError(f"the HDF5 file in it is damaged: no {signature!r} at {address}.")
        return values

    def _checked(self, address: int) -> int:
        if address >= len(self.data):
            raise LoadError(f"the HDF5 file in it is damaged: it points to {address}, past its end")
        return address

    def _once(self, address: int) -> None:
        """Refuses to be led to one place by two ways: a circle, or many arrays made of one."""
        if address in self.seen or len(self.seen) == _MOST_OBJECTS:
            raise UnsafeFileError(
                f"the HDF5 file in it leads twice to {address}, or has over {_MOST_OBJECTS} parts."
            )
        self.seen.add(address)

    def _entry(self, address: int) -> tuple[int, int]:
        name, header, cache, _ = _ENTRY.unpack_from(self.data, address)
        if cache not in (0, 1) or header == _NOWHERE:
            raise UnsafeFileError("the HDF5 file in it has a soft link.")
        return name, header

    def _object(self, address: int, path: str, depth: int) -> None:
        messages = self._messages(address, path)
        if set(messages) == _GROUP:
            self._group(messages[_SYMBOL_TABLE], path, depth)
        elif set(messages) == _DATASET:
            self.arrays[path] = self._dataset(messages, path)
        else:
            raise UnsafeFileError(f"{path or '/'} in it is neither a group nor an array.")

    def _messages(self, address: int, path: str) -> dict[int, bytes]:
        """The messages of an object's header by kind, those of no interest left out."""
        self._once(address)
        version, count, references, size = _PREFIX.unpack_from(self.data, self._checked(address))
        if version != 1 or references != 1:
            raise UnsafeFileError(f"{path or '/'} in it has links of the new kind, or several.")
        blocks, messages = [(address + _PREFIX.size, size)], {}
        for start, size in blocks:
            while size >= _MESSAGE.size and count > 0:
                kind, length, flags = _MESSAGE.unpack_from(self.data, self._checked(start))
                body = self.data[start + _MESSAGE.size : start + _MESSAGE.size + length]
                start, size = start + _MESSAGE.size + length, size - _MESSAGE.size - length
                count -= 1
                self.messages += 1
                if self.messages > _MOST_MESSAGES:
                    raise UnsafeFileError(
                        f"the HDF5 file in it has more than {_MOST_MESSAGES} messages."
                    )
                if kind == _CONTINUATION:
                    blocks.append(_TWO.unpack_from(body))
                elif kind in _UNUSED:
                    continue
                elif kind not in _GROUP | _DATASET or kind in messages or flags & 2:
                    raise UnsafeFileError(
                        f"{path or '/'} in it has {_REFUSED.get(kind, f'a message {kind}')}, "
                        "which no agent is saved with."
                    )
                else:
                    messages[kind] = body
        return messages

    def _group(self, message: bytes, path: str, depth: int) -> None:
        tree, heap = _TWO.unpack_from(message)
        version, size, _, names = self._unpack(_HEAP, heap, b"HEAP")
        if version != 0 or depth >= _DEEPEST:
            raise UnsafeFileError(f"{path or '/'} in it has groups too deep, or of a new version.")
        for name, header in self._entries(tree, None):
            start = self._checked(names + name)
            end = self.data.find(b"\0", start, start + _LONGEST_NAME)
            child = self.data[start:end].decode("utf-8")
            if name >= size or end < 0 or not child or "/" in child:
                raise LoadError(f"the HDF5 file in it is damaged: a name in {path or '/'}.")
            whole = f"{path}/{child}" if path else child
            self.text += len(whole)
            if self.text > _MOST_TEXT:
                raise UnsafeFileError("the HDF5 file in it has names that are too long together.")
            if whole in self.arrays:
                raise UnsafeFileError(f"{whole} is in it twice.")
            self._object(header, whole, depth + 1)

    def _entries(self, address: int, level: int | None) -> list[tuple[int, int]]:
        """The name's place in the heap and the header's address, of all below a node of a tree."""
        kind, found, count = self._unpack(_NODE, address, b"TREE")
        if kind != 0 or level not in (None, found):
            raise LoadError("the HDF5 file in it is damaged: a tree of links.")
        start = address + _NODE.size + 8  # Between children stand keys, 8 bytes each.
        children = [
            int.from_bytes(self.data[place : place + 8], "little")
            for place in range(start, start + 16 * count, 16)
        ]
        if found > 0:
            return [entry for child in children for entry in self._entries(child, found - 1)]
        return [entry for child in children for entry in self._symbols(child)]

    def _symbols(self, address: int) -> list[tuple[int, int]]:
        version, count = self._unpack(_SYMBOLS, address, b"SNOD")
        if version != 1:
            raise UnsafeFileError("the HDF5 file in it is of a version that Keras does not write.")
        start = address + _SYMBOLS.size
        return [self._entry(start + i * _ENTRY.size) for i in range(count)]

    def _dataset(self, messages: dict[int, bytes], path: str) -> np.ndarray:
        shape, dtype = self._shape(messages[_DATASPACE], path), self._type(messages, path)
        version, layout = struct.unpack_from("<2B", messages[_LAYOUT])
        if version != 3 or layout != 1:
            kinds = {0: "in its header", 2: "in chunks", 3: "virtual"}
            raise UnsafeFileError(
                f"{path} in it is {kinds.get(layout, 'of an unknown layout')}; agents are saved in "
                "one piece."
            )
        address, size = _TWO.unpack_from(messages[_LAYOUT], 2)
        count = 1
        for length in shape:
            count *= length
        self.declared += count * dtype.itemsize
        if size != count * dtype.itemsize or self.declared > len(self.data):
            raise UnsafeFileError(
                f"{path} in it says that it is {dtype}{list(shape)}, more than the file holds."
            )
        if count == 0:
            return np.empty(shape, dtype)
        if address > len(self.data) - size:
            raise UnsafeFileError(f"{path} in it has no data of its own in the file.")
        array = np.frombuffer(self.data, dtype, count, address).reshape(shape)
        return np.asarray(array.view(np.uint8) != 0) if dtype.kind == "b" else array

    def _shape(self, message: bytes, path: str) -> tuple[int, ...]:
        version, rank = struct.unpack_from("<2B", message)
        if version != 1 or rank > 8:
            raise UnsafeFileError(f"{path} in it is not an array of at most 8 dimensions.")
        return struct.unpack_from(f"<{rank}Q", message, 8)

    def _type(self, messages: dict[int, bytes], path: str) -> np.dtype:
        message = messages[_DATATYPE]
        for encoded, dtype in self.types.items():
            if message[: len(encoded)] == encoded and not any(message[len(encoded) :]):
                return dtype
        raise UnsafeFileError(f"{path} in it is not an array of numbers.")
