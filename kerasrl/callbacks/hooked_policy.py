"""The policy of a collector, whose `act` anybody may override."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.errors import ArgumentError
from kerasrl.policies import Policy, PolicySpec, PolicyStep


class HookedPolicy(Policy):
    """Acts by a function that may ask a policy, or choose actions of its own.

    Args:
        policy: the agent's `Policy`.
        act: callable from observation leaves to actions; it may call `ask`.
        stores_output: bool, whether what the policy computes is stored beside the actions.
    """

    def __init__(
        self,
        policy: Policy,
        act: Callable[[list[np.ndarray]], np.ndarray],
        stores_output: bool,
    ):
        self._policy, self._act = policy, act
        spec = policy.spec
        self._has_to_be_asked = bool(stores_output or spec.info or spec.state)
        self._acted: PolicyStep | None = None

    def ask(self, observation: list[np.ndarray]) -> np.ndarray:
        """The policy's own actions; the rest of what it gives is stored with those taken."""
        self._acted = self._policy(observation)
        return self._acted.action

    @property
    def spec(self) -> PolicySpec:
        """That of the policy."""
        return self._policy.spec

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Takes the function's actions."""
        self._acted = None
        action, acted = self._act(observation), self._acted
        if acted is not None:
            return acted if action is acted.action else acted._replace(action=action)
        if self._has_to_be_asked:
            raise ArgumentError(
                "act(observation) must call super().act(observation), as what the policy computes, "
                "stores or remembers is kept beside the actions; it returned actions without that. "
                "Call it, and return other actions if you like."
            )
        return PolicyStep(action)

    def output(self, observation: list[np.ndarray]) -> Any:
        """That of the policy."""
        return self._policy.output(observation)

    def reset(self, where: np.ndarray) -> None:
        """Resets the policy."""
        self._policy.reset(where)

    def update(self) -> None:
        """Updates the policy."""
        self._policy.update()

    def check_weights(self) -> None:
        """Checks the policy's."""
        self._policy.check_weights()

    def get_state(self) -> dict[str, Any]:
        """That of the policy."""
        return self._policy.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Sets the policy's."""
        self._policy.set_state(state)
