"""Environments stepped one after another in this process."""

import contextlib
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.envs.api import RESET, STEP, is_reset, is_step, old_api, takes_seed
from kerasrl.envs.environments import Environments
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.infos import as_info
from kerasrl.envs.restarter import Restarter, restart_seed
from kerasrl.envs.scalars import as_flag, as_reward
from kerasrl.envs.spec import EnvSpec
from kerasrl.envs.state import get_state, layer_names, set_state
from kerasrl.envs.watch import Watch
from kerasrl.errors import EnvError
from kerasrl.warning import warn


class EnvList(Environments):
    """Environments stepped one after another in this process.

    Args:
        envs: list of `gymnasium.Env`s of the same spaces.
        owned: bool, whether `close` closes them.
        faults: `FaultPolicy`.
        make: callable that makes one of them anew where one has failed; None not to.
    """

    def __init__(
        self,
        envs: list[gym.Env],
        owned: bool,
        faults: FaultPolicy,
        make: Callable[[], gym.Env] | None = None,
    ):
        spec = EnvSpec(envs[0].observation_space, envs[0].action_space)
        super().__init__(spec, len(envs), owned, faults)
        self._envs = envs
        self._takes_seed = [takes_seed(env) for env in envs]
        self._restarter = Restarter(make, faults.max_env_restarts)
        for i, env in enumerate(envs[1:], 1):
            self._check_like_first(i, env, envs[:i])
        self._watches = [Watch(env) for env in envs]
        self._infos = [{}] * len(envs)

    def _check_like_first(self, i: int, env: gym.Env, others: list[gym.Env]) -> None:
        spaces = env.observation_space, env.action_space
        if spaces != (self.spec.observation_space, self.spec.action_space):
            raise EnvError(
                "environments that are stepped together must have the same spaces; environment 0 "
                f"has {self.spec.observation_space} and {self.spec.action_space}, environment {i} "
                f"has {spaces[0]} and {spaces[1]}."
            )
        if any(env is other for other in others):
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
        self._write(i, self._first(i, seed), arrays, step=0)

    def _first(self, i: int, seed: int | None = None) -> Any:
        """The first observation of a new episode."""
        try:
            result = self._call_reset(i, seed)
        except Exception as error:
            result = self._replace(i, error, self._doing(i))
        return self._read_reset(i, result)

    def _read_reset(self, i: int, result: Any) -> Any:
        if not is_reset(result):
            raise self._error(i, old_api(RESET, result), step=0)
        return result[0]

    def _call_reset(self, i: int, seed: int | None) -> Any:
        with self._watches[i]:
            return self._reset_with_seed(i, seed)

    def _reset_with_seed(self, i: int, seed: int | None) -> Any:
        if self._takes_seed[i]:
            return self._envs[i].reset(seed=seed)
        if seed is not None and "seed" not in self._warned:
            self._warned.add("seed")
            warn(
                f"environment {i}: its reset takes no seed, so that its episodes cannot be "
                "repeated. Declare reset(self, *, seed=None, options=None)."
            )
        return self._envs[i].reset()

    def _replace(self, i: int, error: Exception, doing: str) -> Any:
        """Puts a new environment in the place of one that failed, and returns its first reset."""

        def begin(env: gym.Env, restart: int) -> Any:
            others = list(self._envs)
            self._envs[i] = env  # So that it is closed, whatever it turns out to be.
            self._check_like_first(i, env, others)
            self._takes_seed[i] = takes_seed(env)
            self._watches[i].release()
            self._watches[i] = Watch(env)
            return self._call_reset(i, restart_seed(self._seed, i, restart))

        return self._restarter.replace(self._envs[i], error, doing, begin)

    def _write(
        self, i: int, observation: Any, arrays: list[np.ndarray], step: int | None = None
    ) -> None:
        try:
            self._reader.write(observation, arrays, i)
            return
        except EnvError as error:
            rule = str(error)
        raise self._error(i, rule, step)

    def _step(self, action: np.ndarray) -> tuple:
        reward = np.empty(self.num_envs)
        terminated = np.empty(self.num_envs, bool)
        truncated = np.empty(self.num_envs, bool)
        next_observation = self._reader.empty(self.num_envs)
        infos: list[Any] = [{}] * self.num_envs
        self._infos = infos
        for i in range(self.num_envs):
            result = self._step_one(i, action)
            self._write(i, result[0], next_observation)
            reward[i] = self._scalar_reward(i, result[1])
            terminated[i] = over = self._flag(i, "terminated", result[2])
            truncated[i] = cut_short = self._flag(i, "truncated", result[3])
            infos[i] = result[4]
            if over or cut_short or type(result[4]) is not dict:
                infos[i] = as_info(result[4])  # A copy, as a reset may clear it.
        observation = self._reset_ended(terminated | truncated, next_observation)
        return reward, terminated, truncated, next_observation, observation

    def _step_one(self, i: int, action: np.ndarray) -> tuple:
        """One environment's step; or a new episode, where the step cannot be what was asked for."""
        with self._watches[i] as watch:
            if watch.disturbed:
                self._warn_of_others(f"environment {i}")
                self._cut_off(i)
                return self._first(i), 0.0, False, False, {}
            try:
                result = self._envs[i].step(self._actions.one(action, i))
            except Exception as error:
                reset = self._replace(i, error, self._doing(i, action))
                self._cut_off(i)
                return self._read_reset(i, reset), 0.0, False, False, {}
        if not is_step(result):
            raise self._error(i, old_api(STEP, result))
        return result

    def _flag(self, i: int, name: str, value: Any) -> bool:
        if value is True or value is False:
            return value
        flag = as_flag(value)
        if flag is None:
            raise self._error(
                i,
                f"{name} must be one bool; received {value!r} of type {type(value).__name__}. "
                "Return True or False, e.g. bool(...)",
            )
        return flag

    def _scalar_reward(self, i: int, reward: Any) -> float:
        if isinstance(reward, float):
            return reward
        number = as_reward(reward)
        if number is None:
            raise self._error(
                i,
                f"the reward must be one number; received {reward!r} of type "
                f"{type(reward).__name__}. Return a float",
            )
        if np.size(number) != 1:
            raise self._error(
                i,
                f"the reward must be one number; received shape {np.shape(reward)}. Add up the "
                "rewards of several objectives in the environment",
            )
        if np.ndim(number) and "reward" not in self._warned:
            self._warned.add("reward")
            warn(
                f"environment {i}: the reward comes with shape {np.shape(reward)}, where it must "
                "be one number; it is taken out. Return a float."
            )
        return number.item()

    def _reset_ended(self, ended: np.ndarray, observation: list[np.ndarray]) -> list[np.ndarray]:
        if not np.count_nonzero(ended):
            return observation
        observation = [leaf.copy() for leaf in observation]
        for i in np.nonzero(ended)[0]:
            self._reset_one(int(i), observation)
        return observation

    @property
    def layers(self) -> list[list[str]]:
        """The classes that each environment is made of, from the outermost wrapper."""
        return [layer_names(env) for env in self._envs]

    def _get_states(self) -> list[Any] | None:
        states = [get_state(env) for env in self._envs]
        return None if None in states else states

    def _set_states(self, states: list[Any]) -> None:
        for env, state in zip(self._envs, states, strict=True):
            set_state(env, state)

    def _release(self) -> None:
        """Nothing else was changed about them."""

    def _close(self) -> None:
        with contextlib.ExitStack() as stack:
            for env in self._envs:
                stack.callback(env.close)
