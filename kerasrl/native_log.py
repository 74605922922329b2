"""Keeps the chatter of native libraries off stderr, and nothing else."""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator

from kerasrl.system import file_in_memory

# Reverb prints its start and stop, TensorFlow Lite its conversion, and PyBullet its build time,
# whatever the log level.
_CHATTER = re.compile(
    rb"\[reverb/cc/(client|platform/(tfrecord_checkpointer|default/server))\.cc:\d+\] "
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] tensorflow/(cc|compiler/mlir|core/grappler|lite)/"
    rb"|\[reverb/cc/reverb_service_impl\.cc:\d+\] Stored checkpoint "
    rb"|WARNING: Attempting to use a delegate that only supports static-sized tensors "
    rb"|Use '@tf\.function' or '@defun' to decorate the function\.$"
    rb"|INFO: (Created|Initialized|Applying) "
    rb"|pybullet build time: "
    rb"|Summary on the non-converted ops:"
    rb"| \* ($|Accepted dialects: |Non-Converted Ops: |\d+ \w+ ops)"
    rb"|- [\w.]+: +\d+ occurrences|  \(\w+: \d+(, \w+: \d+)*\)$"
)
_FILLER = re.compile(rb"(-{33})?\s*$")
_lock = threading.RLock()


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drops known chatter that native code writes to stderr; the rest follows at the end.

    The descriptor belongs to the whole process: what other threads write is held back, too, and a
    process started meanwhile inherits it. Keep what is done under it short.
    """
    # In memory: LLVM ends the process when what it says cannot be written, as to a full disk.
    with (
        _lock,
        _logging_left_alone(),
        file_in_memory("kerasrl-stderr") as captured,
    ):
        stderr = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            captured.seek(0)
            _write(b"".join(_without_chatter(captured)))


@contextlib.contextmanager
def _logging_left_alone() -> Iterator[None]:
    """Keeps Abseil from configuring Python's root logger, which is up to the user."""
    nobody = logging.NullHandler()
    logging.root.addHandler(nobody)
    try:
        yield
    finally:
        logging.root.removeHandler(nobody)


def _without_chatter(lines: Iterable[bytes]) -> Iterator[bytes]:
    after_chatter = False
    for line in lines:
        filler = after_chatter and _FILLER.match(line)
        after_chatter = bool(_CHATTER.match(line) or filler)
        if not after_chatter:
            yield line


def _write(text: bytes) -> None:
    while text:
        text = text[os.write(2, text) :]
