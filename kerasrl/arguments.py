"""Numbers as arguments: one rule for counts, seeds and real numbers, whatever their type."""

import math
import numbers
from typing import Any

import numpy as np

from kerasrl.errors import ArgumentError


def whole(name: str, value: Any, least: int = 1, optional: bool = False) -> Any:
    """Takes a whole number of any type: Python's, NumPy's, a 0-d array or tensor, `2.0`, `1e6`.

    Args:
        name: str, the argument's name.
        value: what was given for it.
        least: int, the least number that can work.
        optional: bool, whether None is taken, too, and given back.

    Returns:
        int, so that configs, JSON and TensorFlow have plain numbers.

    Raises:
        ArgumentError: when it is something else, such as a bool, a string, 2.5 or NaN.
    """
    if value is None and optional:
        return None
    number = plain_number(value)
    if number is None or not math.isfinite(number) or number != int(number) or number < least:
        kind = "a positive int" if least == 1 else f"an int of at least {least}"
        rule = f"{kind} or None" if optional else kind
        raise ArgumentError(f"{name} must be {rule}; received {value!r}.")
    return int(number)


def seed_of(value: Any, name: str = "seed") -> int | None:
    """Takes a seed: a whole number that is not negative, however large, or None."""
    return whole(name, value, least=0, optional=True)


def real(name: str, value: Any, rule: str = "a number", optional: bool = False) -> Any:
    """Takes a real number of any type; an infinite one, too.

    Args:
        name: str, the argument's name.
        value: what was given for it.
        rule: str, what it must be, for the error.
        optional: bool, whether None is taken, too, and given back.

    Returns:
        float.

    Raises:
        ArgumentError: when it is something else, such as a bool, a string or NaN.
    """
    if value is None and optional:
        return None
    number = plain_number(value)
    if number is None or math.isnan(number):
        raise ArgumentError(f"{name} must be {rule}; received {value!r}.")
    return float(number)


def positive(name: str, value: Any, rule: str = "positive", optional: bool = False) -> Any:
    """Takes a finite real number above 0, as `real` does."""
    rule = f"{rule} or None" if optional else rule
    number = real(name, value, rule, optional)
    if number is not None and not 0.0 < number < math.inf:
        raise ArgumentError(f"{name} must be {rule}; received {value!r}.")
    return number


def not_negative(name: str, value: Any) -> float:
    """Takes a finite real number of at least 0, as `real` does."""
    number = real(name, value, "at least 0")
    if not 0.0 <= number < math.inf:
        raise ArgumentError(f"{name} must be at least 0; received {value!r}.")
    return number


def fraction(name: str, value: Any) -> float:
    """Takes a real number in [0, 1], as `real` does."""
    number = real(name, value, "in [0, 1]")
    if not 0.0 <= number <= 1.0:
        raise ArgumentError(f"{name} must be in [0, 1]; received {value!r}.")
    return number


def plain_number(value: Any) -> Any:
    """The Python number that a value is, exactly; None if it is none."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        if value.shape != () or value.dtype.kind in "bcmMOSU":
            return None
        return value.item() if value.dtype.kind in "iuf" else float(value)  # type: ignore[arg-type]
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return value
    return None
