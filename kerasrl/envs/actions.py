"""Reading actions: whatever a policy gives, as one array of the space's shape and dtype."""

from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.envs.casting import cast_integers
from kerasrl.errors import ArgumentError


class ActionReader:
    """Makes arrays of the space's own dtype of actions, and finds those that are not finite.

    Args:
        space: `gymnasium.Space` of a single action.
        num_envs: int, N.
    """

    def __init__(self, space: gym.Space, num_envs: int):
        self._shape = (num_envs, *(space.shape or ()))
        self._dtype = np.dtype(space.dtype)
        self._scalars = isinstance(space, gym.spaces.Discrete)
        self._whole = self._dtype.kind != "f"

    def read(self, action: Any) -> np.ndarray:
        """Checks the shape of `[N, ...]` actions, and casts them where no value is lost.

        Returns:
            `[N, ...]` array of the space's dtype; the very same if nothing is to be done.

        Raises:
            ArgumentError: when they are of another shape, or are no numbers of that dtype.
        """
        if type(action) is not np.ndarray:
            action = np.asarray(action)
        if action.shape != self._shape:
            raise ArgumentError(
                f"the policy must give an array of actions of shape {self._shape}, one for each "
                f"environment; received {action.shape}."
            )
        return action if action.dtype == self._dtype else self._cast(action)

    def one(self, actions: np.ndarray, env: int) -> Any:
        """The action of one environment, of the type that the space's `sample` gives."""
        return actions[env] if self._scalars else actions[env, ...].copy()

    def non_finite(self, action: np.ndarray) -> int | None:
        """Finds the first environment whose action is not finite."""
        if self._whole and action.dtype == self._dtype:
            return None
        finite = np.isfinite(action)
        if np.count_nonzero(finite) == action.size:
            return None
        return int(np.argwhere(~finite)[0][0])

    def _cast(self, action: np.ndarray) -> np.ndarray:
        kind = action.dtype.kind
        if kind == "f" and self._dtype.kind in "iu" and not np.isfinite(action).all():
            return action  # Which is found to be so.
        cast = None
        if kind in "biuf" and self._dtype.kind == "f":
            with np.errstate(over="ignore"):
                cast = action.astype(self._dtype)
        elif kind in "biuf":
            cast = cast_integers(action, self._dtype)
        if cast is None:
            raise ArgumentError(
                f"the policy must give actions of {self._dtype}, or ones that are the same when "
                f"they are cast to it; received {action.tolist()} of {action.dtype}."
            )
        return cast
