"""What environments tell of a step, and of an episode that has ended."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class _Account(NamedTuple):
    env: int
    episode_return: float
    length: int


class Episode(_Account):
    """A finished episode: the environment's index, the undiscounted return, the steps taken.

    Args:
        env: int.
        episode_return: float.
        length: int.
        info: dict, what the environment's last `step` returned as its info; empty when that was no
            dict. It counts for no comparison.
    """

    info: dict[str, Any]

    def __new__(
        cls, env: int, episode_return: float, length: int, info: Mapping[str, Any] | None = None
    ) -> "Episode":
        """Copies the info, which the environment may use again."""
        episode = super().__new__(cls, env, episode_return, length)
        episode.info = {} if info is None else dict(info)
        return episode


class Step(NamedTuple):
    """What followed one action in each of N environments.

    Args:
        reward: float32 `[N]`.
        terminated: bool `[N]`.
        truncated: bool `[N]`; False where `terminated` is True.
        next_observation: list of `[N, ...]` leaf arrays, the real observation after the action:
            the final one where an episode ended.
        observation: list of `[N, ...]` leaf arrays to act on next: the first one of the new
            episode where an episode ended, or, where the environment takes a step of its own to
            reset, the final one again.
        valid: bool `[N]`; False where the environment ignored the action because it was resetting,
            and where it failed. Nothing else of such a step means anything, but `observation` and
            `cut`.
        episodes: list of `Episode`s that ended in this step.
        cut: bool `[N]`; True where the episode was broken off before this step, and `observation`
            is the first one of another: the environment failed and a new one took its place, or
            something else had reset or stepped it meanwhile.
        infos: sequence of N dicts, what each environment's `step` returned as its info; read-only,
            and good until the next step.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: list[np.ndarray]
    observation: list[np.ndarray]
    valid: np.ndarray
    episodes: list[Episode]
    cut: np.ndarray
    infos: Sequence[Mapping[str, Any]] = ()
