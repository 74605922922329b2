"""One face for every kind of environment: a vector of them, with episode ends made explicit."""

import abc
from typing import NamedTuple

import numpy as np

from kerasrl.envs.observations import ObservationReader
from kerasrl.envs.spec import EnvSpec
from kerasrl.errors import EnvError

_LARGEST_REWARD = np.finfo(np.float32).max


class Episode(NamedTuple):
    """A finished episode: the environment's index, the undiscounted return, the steps taken."""

    env: int
    episode_return: float
    length: int


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
        valid: bool `[N]`; False where the environment ignored the action because it was resetting.
            Nothing else of such a step means anything, but `observation`.
        episodes: list of `Episode`s that ended in this step.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: list[np.ndarray]
    observation: list[np.ndarray]
    valid: np.ndarray
    episodes: list[Episode]


class Environments(abc.ABC):
    """N environments that are stepped together and reset themselves.

    Args:
        spec: `EnvSpec` of each environment.
        num_envs: int, N.
        owned: bool, whether `close` closes the environments.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, owned: bool):
        self.spec = spec
        self.num_envs = num_envs
        self._owned = owned
        self._reader = ObservationReader(spec.observation_space)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._resetting = np.zeros(num_envs, bool)

    def reset(self, seed: int | None = None) -> list[np.ndarray]:
        """Starts a new episode everywhere; environment i is seeded with `seed + i`.

        Returns:
            List of `[N, ...]` leaf arrays: the first observations.

        Raises:
            EnvError: when an observation is not one of the space's.
        """
        self._returns[:] = 0
        self._lengths[:] = 0
        self._resetting[:] = False
        observation = self._reset(seed)
        self._check_finite(observation)
        return observation

    def step(self, action: np.ndarray) -> Step:
        """Takes one action, `[N, ...]` in the environment's own units, in each environment.

        Raises:
            EnvError: when a reward or an observation breaks the rules of the environment's spaces.
        """
        valid = ~self._resetting
        self._lengths += valid
        reward, terminated, truncated, next_observation, observation = self._step(action)
        self._check_reward(reward, action)
        self._check_finite(next_observation)
        self._returns += reward * valid
        ended = valid & (terminated | truncated)
        episodes = self._finish(ended) if np.count_nonzero(ended) else []
        if observation is not next_observation:
            self._check_finite(observation)
        return Step(
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated & ~terminated,
            next_observation=next_observation,
            observation=observation,
            valid=valid,
            episodes=episodes,
        )

    def close(self) -> None:
        """Closes the environments if they were made by kerasrl; leaves others open."""
        if self._owned:
            self._close()

    @abc.abstractmethod
    def _reset(self, seed: int | None) -> list[np.ndarray]: ...

    @abc.abstractmethod
    def _step(self, action: np.ndarray) -> tuple: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    def _finish(self, ended: np.ndarray) -> list[Episode]:
        episodes = [
            Episode(int(i), float(self._returns[i]), int(self._lengths[i]))
            for i in np.nonzero(ended)[0]
        ]
        self._returns[ended] = 0
        self._lengths[ended] = 0
        return episodes

    def _check_reward(self, reward: np.ndarray, action: np.ndarray) -> None:
        finite = np.abs(reward) <= _LARGEST_REWARD
        if np.count_nonzero(finite) < self.num_envs:
            env = int(np.nonzero(~finite)[0][0])
            raise self._error(
                env,
                f"the reward must be a finite float32; received {reward[env]} for the action "
                f"{action[env]}",
            )

    def _check_finite(self, observation: list[np.ndarray]) -> None:
        found = self._reader.non_finite(observation)
        if found:
            path, env = found
            raise self._error(env, f"{path} must be finite; it holds a NaN or an infinity")

    def _error(self, env: int, rule: str, step: int | None = None) -> EnvError:
        step = self._lengths[env] if step is None else step
        return EnvError(f"environment {env}, step {step} of its episode: {rule}.")
