"""What single environments return where one bool or one number belongs."""

import decimal
import numbers
from typing import Any

import numpy as np

FLAGS = "b"  # The kinds of NumPy dtypes that will do.
REWARDS = "biuf"


def as_flag(value: Any) -> bool | None:
    """Takes one bool, of Python's, NumPy's or in an array, out of a value; None for all else.

    0 and 1 are no bools, as for Gymnasium.
    """
    if isinstance(value, list | tuple | str | bytes) or value is None:
        return None
    array = np.asarray(value)
    return bool(array.item()) if array.dtype.kind in FLAGS and array.size == 1 else None


def as_reward(value: Any) -> np.ndarray | None:
    """An array of the numbers that a value consists of; None if it consists of anything else."""
    if isinstance(value, numbers.Real | decimal.Decimal) and not isinstance(value, np.generic):
        try:
            return np.array(float(value))
        except OverflowError:
            return np.array(np.inf)
    try:
        array = np.asarray(value)
    except ValueError:  # It is ragged.
        return None
    return array if array.dtype.kind in REWARDS else None
