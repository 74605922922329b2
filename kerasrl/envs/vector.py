"""One face for every kind of environment: a vector of them, with episode ends made explicit."""

import abc
import contextlib
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from kerasrl.envs.observations import ObservationReader
from kerasrl.envs.spec import EnvSpec
from kerasrl.errors import EnvError

_LARGEST_REWARD = np.finfo(np.float32).max
_RESET = "reset() must return (observation, info)"
_STEP = "step() must return (observation, reward, terminated, truncated, info)"


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
        if not _is_reset(result):
            raise self._error(i, _old_api(_RESET, result), step=0)
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
            if not _is_step(result):
                raise self._error(i, _old_api(_STEP, result))
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


class VectorEnvAdapter(Environments):
    """A Gymnasium `VectorEnv` under any of its three autoreset modes.

    Args:
        env: `gymnasium.vector.VectorEnv`.
        owned: bool, whether `close` closes it.

    Raises:
        EnvError: when the environment does not say which autoreset mode it uses.
    """

    def __init__(self, env: VectorEnv, owned: bool):
        spec = EnvSpec(env.single_observation_space, env.single_action_space)
        super().__init__(spec, env.num_envs, owned)
        self._env = env
        self._mode = env.metadata.get("autoreset_mode")
        if not isinstance(self._mode, AutoresetMode):
            raise EnvError(
                "a VectorEnv must state its autoreset mode: metadata['autoreset_mode'] must be a "
                f"gymnasium.vector.AutoresetMode; received {self._mode!r}."
            )

    def _reset(self, seed: int | None) -> list[np.ndarray]:
        return self._read_reset(self._env.reset(seed=seed))

    def _read_reset(self, result: Any) -> list[np.ndarray]:
        if not _is_reset(result):
            raise self._batch_error(_old_api(_RESET, result))
        return self._read(result[0])

    def _read(self, observation: Any) -> list[np.ndarray]:
        try:
            return self._reader.read_batch(observation, self.num_envs)
        except EnvError as error:
            raise self._batch_error(str(error)) from None

    def _column(self, name: str, values: Any, dtype: type) -> np.ndarray:
        if np.shape(values) != (self.num_envs,):
            raise self._batch_error(
                f"{name} must have shape {(self.num_envs,)}; received {np.shape(values)}"
            )
        return np.array(values, dtype)

    def _step(self, action: np.ndarray) -> tuple:
        result = self._env.step(action)
        if not _is_step(result):
            raise self._batch_error(_old_api(_STEP, result))
        next_observation = self._read(result[0])
        reward = self._column("the reward", result[1], float)
        terminated = self._column("terminated", result[2], bool)
        truncated = self._column("truncated", result[3], bool)
        ended = terminated | truncated
        observation = next_observation
        if self._mode == AutoresetMode.NEXT_STEP:
            self._resetting = ended
        elif ended.any() and self._mode == AutoresetMode.SAME_STEP:
            next_observation = self._with_final(next_observation, result[4], ended)
        elif ended.any():
            first = self._read_reset(self._env.reset(options={"reset_mask": ended.copy()}))
            observation = [
                np.where(_rows(ended, new), new, old)
                for new, old in zip(first, next_observation, strict=True)
            ]
        return reward, terminated, truncated, next_observation, observation

    def _with_final(
        self, observation: list[np.ndarray], infos: dict, ended: np.ndarray
    ) -> list[np.ndarray]:
        if "final_obs" not in infos:
            raise self._error(
                int(np.argmax(ended)),
                "a VectorEnv with autoreset mode SAME_STEP must give the last observation of an "
                "episode in infos['final_obs']; it is missing. Use AutoresetMode.NEXT_STEP",
            )
        final = [leaf.copy() for leaf in observation]
        for i in np.nonzero(ended)[0]:
            try:
                self._reader.write(infos["final_obs"][i], final, int(i))
            except EnvError as error:
                raise self._error(int(i), f"in infos['final_obs'], {error}") from None
        return final

    def _batch_error(self, rule: str) -> EnvError:
        return EnvError(f"{self._env}, steps {self._lengths} of its episodes: {rule}.")

    def _close(self) -> None:
        self._env.close()


def _rows(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *[1] * (array.ndim - 1))


def _is_reset(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)


def _is_step(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 5


def _old_api(rule: str, result: Any) -> str:
    received = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
    return (
        f"{rule}, as gymnasium has it since 0.26; received {received}. Port the environment from "
        "the old gym API"
    )
