"""The policy that knows nothing."""

from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.arguments import seed_of

_STREAM = 4  # Random numbers apart from those of whatever else has the same seed.


class RandomPolicy:
    """Draws actions by `random_actions`, whatever it observes: the baseline of every agent.

    Args:
        action_space: `gymnasium.Space` of one action: Box, Discrete, MultiBinary or MultiDiscrete.
        seed: int, makes its actions repeatable.
    """

    def __init__(self, action_space: Any, seed: int | None = None):
        self._action_space, seed = action_space, seed_of(seed)
        self._rng = np.random.default_rng(None if seed is None else [seed, _STREAM])

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        """Draws one action for each environment.

        Args:
            observation: list of `[N, ...]` leaf arrays.

        Returns:
            `[N, ...]` array of actions in the environment's own units.
        """
        return random_actions(self._action_space, len(observation[0]), self._rng)


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
