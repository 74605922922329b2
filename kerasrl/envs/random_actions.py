"""Actions drawn without looking."""

from typing import Any

import gymnasium as gym
import numpy as np


def random_actions(space: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws actions as the space's own `sample` does, but from a generator and many at once.

    That is uniformly; where a Box has no bounds from a standard normal, and where it has one bound
    from an exponential distribution that begins there.

    Args:
        space: `gymnasium.Space` of one action: Box, Discrete, MultiBinary or MultiDiscrete.
        count: int, N, actions to draw.
        rng: `numpy.random.Generator`.

    Returns:
        `[N, ...]` array of the space's dtype.
    """
    shape = (count, *space.shape)
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, shape, space.dtype)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return rng.integers(space.start, space.start + space.nvec, shape, space.dtype)
    if isinstance(space, gym.spaces.MultiBinary):
        return rng.integers(0, 2, shape, space.dtype)
    if space.dtype.kind in "iu":
        return rng.integers(space.low, space.high, shape, space.dtype, endpoint=True)
    above, below = np.isfinite(space.low), np.isfinite(space.high)
    if (above & below).all():
        return rng.uniform(space.low, space.high, shape).astype(space.dtype)
    low, high = np.where(above, space.low, 0.0), np.where(below, space.high, 0.0)
    uniform = rng.uniform(np.minimum(low, high), np.maximum(low, high), shape)
    exponential = rng.standard_exponential(shape)
    drawn = np.select(
        [above & below, above, below],
        [uniform, low + exponential, high - exponential],
        rng.standard_normal(shape),
    )
    return drawn.astype(space.dtype)
