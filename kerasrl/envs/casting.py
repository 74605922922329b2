"""Casting by value: what is the same number in another dtype may be of that dtype."""

import numpy as np


def cast_integers(values: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """Casts to an integer or bool dtype; None if a value is not the same number there."""
    return None if misfits(values, dtype).any() else values.astype(dtype)


def misfits(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Where numbers are not ones of an integer or bool dtype, bool of the shape of `values`.

    Args:
        values: array of bool, int or float.
        dtype: the dtype to cast to.
    """
    if dtype.kind == "b":
        low, high = 0, 1
    else:
        limits = np.iinfo(dtype)
        low, high = int(limits.min), int(limits.max)
    outside = _below(values, low) | _above(values, high)
    if values.dtype.kind == "f":
        outside |= values != np.floor(values)
    return outside


def _below(values: np.ndarray, low: int) -> np.ndarray:
    if values.dtype.kind in "biu" and _least(values.dtype) >= low:
        return np.zeros(values.shape, bool)
    return values < low


def _above(values: np.ndarray, high: int) -> np.ndarray:
    if values.dtype.kind in "biu" and _most(values.dtype) <= high:
        return np.zeros(values.shape, bool)
    # As a float, the most of a 64-bit integer is rounded up to one that is too large.
    return values >= float(high) + 1 if values.dtype.kind == "f" else values > high


def _least(dtype: np.dtype) -> int:
    return 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


def _most(dtype: np.dtype) -> int:
    return 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)
