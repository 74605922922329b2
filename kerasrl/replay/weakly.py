"""Python functions for TensorFlow, which keeps those of datasets until the process ends."""

import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from kerasrl.errors import ReplayError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def weakly(method: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Calls a method without keeping its object alive.

    Args:
        method: bound method of a part of a replay.

    Returns:
        Function that raises `ReplayError` once the object is gone.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        alive = reference()
        if alive is None:
            raise ReplayError("the replay that these batches are drawn from is closed.")
        return alive(*args, **kwargs)

    return call
