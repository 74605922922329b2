"""Between actions in the environment's units and actions in [-1, 1]."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.networks.bounds import clip_to_bounds


class ActionScale:
    """The bounds of a Box, as a scale and an offset.

    Args:
        space: bounded `gymnasium.spaces.Box`.

    Attributes:
        size: int, A, the dimensions of an action.
        low, high: float arrays `[A]`, the bounds.
        scale: float32 array `[A]`, half of the distance between the bounds.
        offset: float32 array `[A]`, the middle between the bounds.
    """

    def __init__(self, space: Any):
        self._shape, self._dtype = space.shape, space.dtype
        self.low, self.high = space.low.ravel(), space.high.ravel()
        self.size = self.low.size
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        self.scale = ((high - low) / 2).astype(np.float32)
        self.offset = ((high + low) / 2).astype(np.float32)

    def to_unit(self, action: tf.Tensor) -> tf.Tensor:
        """Rescales actions `[B, ...]` to [-1, 1], `[B, A]` float32; constant ones become 0."""
        flat = tf.reshape(tf.cast(action, tf.float32), (-1, self.size))
        return tf.math.divide_no_nan(flat - self.offset, self.scale)

    def from_unit(self, action: Any) -> Any:
        """Rescales actions in [-1, 1], `[B, A]`, to the environment's units, of the same shape."""
        return self.offset + self.scale * action

    def shaped(self, action: Any) -> Any:
        """Gives actions `[B, A]` the shape and dtype of the space, `[B, ...]`, within its bounds.

        A space refuses what lies beyond a bound, be it by rounding only.
        """
        shape = (-1, *self._shape)
        if isinstance(action, np.ndarray):
            return np.clip(action, self.low, self.high).astype(self._dtype).reshape(shape)
        return tf.reshape(clip_to_bounds(action, self.low, self.high), shape)
