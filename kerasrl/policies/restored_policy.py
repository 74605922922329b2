"""The policy that was exported, acting in environments."""

import numpy as np

from kerasrl.export.exported import ExportedPolicy
from kerasrl.policies.policy import Policy, PolicyStep


class RestoredPolicy(Policy):
    """Acts greedily in N environments with a policy that `load_policy` has loaded.

    Args:
        exported: `ExportedPolicy`.
        num_envs: int, N.
    """

    def __init__(self, exported: ExportedPolicy, num_envs: int = 1):
        self._exported = exported
        self._start = exported.initial_state(num_envs)
        self._state = self._start

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Chooses actions for a list of `[N, ...]` leaf arrays, and moves the state on."""
        state = self._state
        if not state:
            return PolicyStep(self._exported(observation))
        action, self._state = self._exported(observation, state)
        return PolicyStep(action, state=list(state.values()))

    def reset(self, where: np.ndarray) -> None:
        """Puts the state back to its start where new episodes begin, a bool array `[N]`."""
        state = {name: leaf.copy() for name, leaf in self._state.items()}
        for name, leaf in state.items():
            leaf[where] = self._start[name][where]
        self._state = state
