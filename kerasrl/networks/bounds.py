"""Keeping actions within the bounds of a Box whatever its dtype."""

from typing import Any

import numpy as np
import tensorflow as tf


def clip_to_bounds(action: tf.Tensor, low: np.ndarray, high: np.ndarray) -> tf.Tensor:
    """Clips actions so that they are within the bounds in the bounds' own dtype, too.

    A space refuses what lies beyond a bound, be it by rounding only, as 0.1 does that was a float32
    and becomes a float64.

    Args:
        action: float, `[..., A]`.
        low: float array `[A]`; the lower bounds, infinite where there is none.
        high: the same; the upper bounds.

    Returns:
        `[..., A]` of the bounds' dtype.
    """
    # Clipped before the cast: TensorFlow Lite clips float32 only.
    clipped = tf.clip_by_value(
        tf.cast(action, tf.float32),
        _rounded(low, np.less, np.inf),
        _rounded(high, np.greater, -np.inf),
    )
    return tf.cast(clipped, tf.as_dtype(low.dtype))


def _rounded(bound: np.ndarray, beyond: Any, inwards: float) -> np.ndarray:
    """The float32 array next to a bound that is not beyond it."""
    with np.errstate(over="ignore"):  # What is beyond all float32s is brought back, too.
        nearest = bound.astype(np.float32)
    return np.where(beyond(nearest, bound), np.nextafter(nearest, np.float32(inwards)), nearest)
