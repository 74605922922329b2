"""The files in which Reverb saves a table: seen to be whole, and with another name for the table.

They are `tables.tfrecord`, `items.tfrecord` and `chunks.tfrecord`, all zlib streams of TFRecords,
and an empty `DONE`.
"""

import os
import zlib
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from kerasrl.errors import LoadError
from kerasrl.private import checkpoint_messages

_TABLES, _ITEMS, _CHUNKS, _DONE = (
    "tables.tfrecord",
    "items.tfrecord",
    "chunks.tfrecord",
    "DONE",
)
_COMPRESSION = "ZLIB"
_BYTES = 2**16


def gather(written: Path, directory: Path) -> None:
    """Moves the files of a checkpoint that Reverb has written into the directory above.

    Raises:
        OSError: when one of them is cut off.
    """
    for name in (_TABLES, _ITEMS, _CHUNKS):
        # Reverb does not notice a disk that is full when the last bytes of a file reach it.
        if not _is_whole(written / name):
            raise OSError(f"{name} was cut off")
    for name in (_TABLES, _ITEMS, _CHUNKS, _DONE):
        os.rename(written / name, directory / name)
    written.rmdir()


def rename(source: Path, target: Path, name: str) -> int:
    """Makes a new directory of files that differ in the name of the one table that they hold.

    Args:
        source: path of the directory of the files; it is not changed.
        target: path of the directory to make.
        name: str, the new name.

    Returns:
        The number of items.

    Raises:
        LoadError: when the files are damaged.
    """
    target.mkdir()
    table_message, item_message = checkpoint_messages()
    limiter = table_message()
    items = 0
    try:
        with tf.io.TFRecordWriter(str(target / _TABLES), _COMPRESSION) as writer:
            for record in _records(source / _TABLES):
                limiter.ParseFromString(record)
                limiter.table_name = name
                writer.write(limiter.SerializeToString())
        with tf.io.TFRecordWriter(str(target / _ITEMS), _COMPRESSION) as writer:
            for record in _records(source / _ITEMS):
                item = item_message.FromString(record)
                item.table = name
                writer.write(item.SerializeToString())
                items += 1
    except (tf.errors.OpError, DecodeError) as error:
        reason = getattr(error, "message", str(error))
        raise LoadError(f"{source} cannot be read: {reason}.") from error
    (target / _CHUNKS).symlink_to((source / _CHUNKS).absolute())
    (target / _DONE).touch()
    counted = limiter.rate_limiter
    if items != counted.insert_count - counted.delete_count:
        raise LoadError(
            f"{source} is damaged: it has {items} items, after {counted.insert_count} inserts and "
            f"{counted.delete_count} removals."
        )
    return items


def _records(path: Path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path), _COMPRESSION).as_numpy_iterator())


def _is_whole(path: Path) -> bool:
    stream = zlib.decompressobj()
    with open(path, "rb") as file:
        try:
            while block := file.read(_BYTES):
                stream.decompress(block)
        except zlib.error:
            return False
    return stream.eof
