"""Environments stepped one after another in this process."""

import contextlib
from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.envs.api import RESET, STEP, is_reset, is_step, old_api
from kerasrl.envs.environments import Environments
from kerasrl.envs.spec import EnvSpec
from kerasrl.errors import EnvError


class EnvList(Environments):
    """Environments stepped one after another in this process.

    Args:
        envs: list of `gymnasium.Env`s of the same spaces.
        owned: bool, whether `close` closes them.
    """

    def __init__(self, envs: list[gym.Env], owned: bool):
        super().__init__(EnvSpec(envs[0].observation_space, envs[0].action_space), len(envs), owned)
        self._envs = envs
        for i, env in enumerate(envs[1:], 1):
            self._check_like_first(i, env)

    def _check_like_first(self, i: int, env: gym.Env) -> None:
        spaces = env.observation_space, env.action_space
        if spaces != (self.spec.observation_space, self.spec.action_space):
            raise EnvError(
                "environments that are stepped together must have the same spaces; environment 0 "
                f"has {self.spec.observation_space} and {self.spec.action_space}, environment {i} "
                f"has {spaces[0]} and {spaces[1]}."
            )
        if any(env is other for other in self._envs[:i]):
            raise EnvError(
                f"environment {i} is the same object as one before it. A callable given as "
                "environment must make a new one at every call."
            )

    def _reset(self, seed: int | None) -> list[np.ndarray]:
        arrays = self._reader.empty(self.num_envs)
        for i in range(self.num_envs):
            self._reset_one(i, arrays, None if seed is None else seed + i)
        return arrays

    def _reset_one(self, i: int, arrays: list[np.ndarray], seed: int | None = None) -> None:
        result = self._envs[i].reset(seed=seed)
        if not is_reset(result):
            raise self._error(i, old_api(RESET, result), step=0)
        self._write(i, result[0], arrays, step=0)

    def _write(
        self, i: int, observation: Any, arrays: list[np.ndarray], step: int | None = None
    ) -> None:
        try:
            self._reader.write(observation, arrays, i)
        except EnvError as error:
            raise self._error(i, str(error), step) from None

    def _step(self, action: np.ndarray) -> tuple:
        reward = np.empty(self.num_envs)
        terminated = np.empty(self.num_envs, bool)
        truncated = np.empty(self.num_envs, bool)
        next_observation = self._reader.empty(self.num_envs)
        for i, env in enumerate(self._envs):
            result = env.step(action[i].copy())
            if not is_step(result):
                raise self._error(i, old_api(STEP, result))
            self._write(i, result[0], next_observation)
            reward[i] = self._scalar_reward(i, result[1])
            terminated[i], truncated[i] = result[2], result[3]
        observation = self._reset_ended(terminated | truncated, next_observation)
        return reward, terminated, truncated, next_observation, observation

    def _scalar_reward(self, i: int, reward: Any) -> float:
        if isinstance(reward, float):
            return reward
        if np.size(reward) != 1:
            raise self._error(
                i,
                f"the reward must be one number; received shape {np.shape(reward)}. Add up the "
                "rewards of several objectives in the environment",
            )
        return reward if np.ndim(reward) == 0 else np.asarray(reward).item()

    def _reset_ended(self, ended: np.ndarray, observation: list[np.ndarray]) -> list[np.ndarray]:
        if not np.count_nonzero(ended):
            return observation
        observation = [leaf.copy() for leaf in observation]
        for i in np.nonzero(ended)[0]:
            self._reset_one(int(i), observation)
        return observation

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:
            for env in self._envs:
                stack.callback(env.close)
