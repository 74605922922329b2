"""The policy that knows nothing."""

from typing import Any

import numpy as np

from kerasrl.arguments import seed_of
from kerasrl.envs import random_actions
from kerasrl.policies.policy import Policy, PolicyStep

_STREAM = 4  # Random numbers apart from those of whatever else has the same seed.


class RandomPolicy(Policy):
    """Draws actions by `random_actions`, whatever it observes: the baseline of every agent.

    Args:
        action_space: `gymnasium.Space` of one action: Box, Discrete, MultiBinary or MultiDiscrete.
        seed: int, makes its actions repeatable; or a `numpy.random.Generator` to draw from.
    """

    def __init__(self, action_space: Any, seed: int | np.random.Generator | None = None):
        self._action_space = action_space
        if isinstance(seed, np.random.Generator):
            self._rng = seed
        else:
            seed = seed_of(seed)
            self._rng = np.random.default_rng(None if seed is None else [seed, _STREAM])

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Draws one action for each environment.

        Args:
            observation: list of `[N, ...]` leaf arrays.

        Returns:
            `PolicyStep` with `[N, ...]` actions in the environment's own units.
        """
        return PolicyStep(random_actions(self._action_space, len(observation[0]), self._rng))

    def get_state(self) -> dict[str, Any]:
        """The state of the random numbers."""
        return {"random": self._rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        self._rng.bit_generator.state = state["random"]
