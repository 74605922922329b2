"""Tiny environments whose every number is known, for the tests of kerasrl and of its users."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np


class CountingEnv(gym.Env):
    """Counts: the observation is `[episode, step]`, the reward is the number of the step.

    The first episode is number 0, and every episode begins at step 0 and pays 1, 2, 3, ... It
    notes the `seeds` and the `actions` that it was given, and whether it was `closed`.

    Args:
        lengths: sequence of int, steps in each episode; after the last it begins again.
        truncates: bool, whether episodes are truncated; they terminate otherwise.
        action_space: `gymnasium.Space`; None means `Discrete(2)`.
    """

    def __init__(
        self,
        lengths: Sequence[int] = (3,),
        truncates: bool = False,
        action_space: gym.Space | None = None,
    ):
        self.observation_space = gym.spaces.Box(0, np.inf, (2,), np.float32)
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.lengths = tuple(lengths)
        self.truncates = truncates
        self.seeds: list[int | None] = []
        self.actions: list[Any] = []
        self.closed = False
        self._episode = -1
        self._time = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Begins the next episode."""
        super().reset(seed=seed)
        self.seeds.append(seed)
        self._episode += 1
        self._time = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple:
        """Pays the number of the step."""
        self.actions.append(action)
        self._time += 1
        ended = self._time == self.lengths[self._episode % len(self.lengths)]
        terminated, truncated = ended and not self.truncates, ended and self.truncates
        return self._observation(), float(self._time), terminated, truncated, {}

    def close(self) -> None:
        """Notes that it is closed."""
        self.closed = True

    def _observation(self) -> np.ndarray:
        return np.array([self._episode, self._time], np.float32)


class RandomEnv(gym.Env):
    """Draws everything: observations of any space, rewards, and how and when an episode ends.

    Two of them with the same seed and actions do the same. A reward is the sum of the action and
    some noise. A third of the episodes terminate, a third are truncated, a third are both at once.

    Args:
        observation_space: `gymnasium.Space`; None means `nested_space()`.
        action_space: `gymnasium.Space`; None means `Discrete(2)`.
        mean_length: float, steps in an episode, at least 1.
    """

    def __init__(
        self,
        observation_space: gym.Space | None = None,
        action_space: gym.Space | None = None,
        mean_length: float = 4.0,
    ):
        self.observation_space = observation_space or nested_space()
        self.action_space = action_space or gym.spaces.Discrete(2)
        self.mean_length = mean_length

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Draws a first observation."""
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple:
        """Draws what follows."""
        reward = float(np.sum(action) + self.np_random.normal())
        how = self.np_random.integers(1, 4) * (self.np_random.random() * self.mean_length < 1.0)
        return self.observation_space.sample(), reward, bool(how & 1), bool(how & 2), {}


def nested_space() -> gym.spaces.Dict:
    """An observation space with every kind of leaf and of nesting that kerasrl serves."""
    spaces = gym.spaces
    return spaces.Dict(
        {
            "vector": spaces.Box(-1, 1, (3,), np.float32),
            "image": spaces.Box(0, 255, (2, 2, 1), np.uint8),
            "pair": spaces.Tuple(
                (
                    spaces.Discrete(5, start=-2),
                    spaces.Dict(
                        {
                            "bits": spaces.MultiBinary((2, 2)),
                            "scalar": spaces.Box(-np.inf, np.inf, (), np.float64),
                        }
                    ),
                )
            ),
            "choices": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
        }
    )
