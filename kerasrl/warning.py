"""Warnings that show the user's own line."""

import sys
import warnings
from types import FrameType

_BETWEEN = {"contextlib", "keras", "kerasrl", "tensorflow"}


def warn(message: str) -> None:
    """Warns as of the nearest line that is not of kerasrl, nor of Keras and TensorFlow below it.

    In a thread of kerasrl's own, that is where the thread begins.

    Args:
        message: str, what the `UserWarning` says.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame) in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
