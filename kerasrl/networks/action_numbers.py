"""The numbers that an action is made of: how many values they take, or what range they lie in."""

from typing import Any

import gymnasium as gym
import numpy as np


def sizes_and_starts(space: Any) -> tuple[list[int], list[int]]:
    """How many values each integer of an action can take, and the least of each, in order.

    Args:
        space: `gymnasium.Space`: Discrete, MultiDiscrete or MultiBinary.
    """
    if isinstance(space, gym.spaces.MultiDiscrete):
        sizes, starts = space.nvec, space.start
    elif isinstance(space, gym.spaces.MultiBinary):
        sizes, starts = np.full(space.shape, 2), np.zeros(space.shape, int)
    else:
        sizes, starts = np.array(space.n), np.array(space.start)
    return [int(size) for size in np.ravel(sizes)], [int(start) for start in np.ravel(starts)]


def offset_and_scale(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """What 0 stands for on the scale of the bounds of a Box, and how much 1 is.

    Where both bounds are finite, -1 and 1 stand for them. Where one is missing, 0 stands for what
    lies 1 inside of the other; where both are, 0 for 0; and the unit is the environment's.

    Args:
        space: `gymnasium.spaces.Box` of floats.

    Returns:
        Two float64 arrays `[A]`. The scale of a constant number is 0.
    """
    low, high = space.low.ravel(), space.high.ravel()
    # A bound that is the largest number there is is another way to say that there is none.
    largest = min(np.finfo(low.dtype).max, np.finfo(np.float32).max)
    below, above = np.abs(low) < largest, np.abs(high) < largest
    low = np.where(below, low, 0).astype(np.float64)
    high = np.where(above, high, 0).astype(np.float64)
    offset = np.select(
        [below & above, below, above], [low / 2 + high / 2, low + 1, high - 1], default=0.0
    )
    return offset, np.where(below & above, high / 2 - low / 2, 1.0)
