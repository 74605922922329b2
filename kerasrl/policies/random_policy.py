"""The policy that knows nothing."""

from typing import Any

import numpy as np

from kerasrl.arguments import seed_of
from kerasrl.envs import random_actions

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
