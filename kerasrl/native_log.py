"""Keeps the chatter of native libraries off stderr, and nothing else."""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

# Reverb prints its start and stop, and TensorFlow Lite its conversion, whatever the log level.
_CHATTER = re.compile(
    r"\[reverb/cc/|\d{4}-\d\d-\d\d [\d:.]+: [IW] |INFO: |Summary on the non-converted ops|-{33}$"
    r"| \* |- [\w.]+: +\d+ occurrences|  \(\w+: \d+\)$|$"
)
_lock = threading.RLock()


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Drops known chatter that native code writes to stderr; the rest follows at the end."""
    with _lock, tempfile.TemporaryFile() as captured:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            captured.seek(0)
            for line in captured.read().decode(errors="replace").splitlines():
                if not _CHATTER.match(line):
                    print(line, file=sys.stderr)
