"""The policy that knows nothing."""

from typing import Any

import gymnasium as gym
import numpy as np


def random_actions(space: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws actions uniformly; from a standard normal where a Box has no bounds.

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
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = np.where(bounded, space.low, 0.0), np.where(bounded, space.high, 1.0)
    normal = np.clip(rng.standard_normal(shape), space.low, space.high)
    return np.where(bounded, rng.uniform(low, high, shape), normal).astype(space.dtype)
