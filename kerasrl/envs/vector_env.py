"""A Gymnasium `VectorEnv` under any of its three autoreset modes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from kerasrl.envs.api import RESET, STEP, is_reset, is_step, old_api
from kerasrl.envs.async_workers import AsyncWorkers
from kerasrl.envs.environments import Environments
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.restarter import Restarter, restart_seed
from kerasrl.envs.spec import EnvSpec
from kerasrl.errors import EnvError, EnvWorkerError


class VectorEnvAdapter(Environments):
    """A Gymnasium `VectorEnv` under any of its three autoreset modes.

    Args:
        env: `gymnasium.vector.VectorEnv`.
        owned: bool, whether `close` closes it.
        faults: `FaultPolicy`.
        make: callable that makes it anew where it has failed; None not to.

    Raises:
        EnvError: when the environment does not say which autoreset mode it uses.
    """

    def __init__(
        self,
        env: VectorEnv,
        owned: bool,
        faults: FaultPolicy,
        make: Callable[[], VectorEnv] | None = None,
    ):
        spec = EnvSpec(env.single_observation_space, env.single_action_space)
        super().__init__(spec, env.num_envs, owned, faults)
        self._mode = env.metadata.get("autoreset_mode")
        if not isinstance(self._mode, AutoresetMode):
            raise EnvError(
                "a VectorEnv must state its autoreset mode: metadata['autoreset_mode'] must be a "
                f"gymnasium.vector.AutoresetMode; received {self._mode!r}."
            )
        self._timeout = faults.env_timeout
        self._restarter = Restarter(make, faults.max_env_restarts, lambda _: self._close())
        self._use(env)

    def _use(self, env: VectorEnv) -> None:
        self._env = env
        self._workers = AsyncWorkers.of(env, self._timeout)

    def _reset(self, seed: int | None) -> list[np.ndarray]:
        try:
            result = self._env.reset(seed=seed)
        except Exception as error:
            result = self._replace(error)
        return self._read_reset(result)

    def _replace(self, error: Exception, action: np.ndarray | None = None) -> Any:
        """Puts a new vector in the place of one that failed, and returns its first reset."""

        def begin(env: VectorEnv, restart: int) -> Any:
            before = self._env
            self._use(env)  # So that it is closed, whatever it turns out to be.
            self._check_like(before, env)
            return env.reset(seed=restart_seed(self._seed, 0, restart))

        if self._workers is None:
            doing = self._doing_together(action)
        else:
            error, failed = self._workers.explain(error)
            doing = "; ".join(self._doing(i, action) for i in failed)
            doing = doing or self._doing_together(action)
        if isinstance(error, EnvWorkerError) and not self._owned:
            doing += ". It was given as it is and stays open: call its close(terminate=True)"
        return self._restarter.replace(self._env, error, doing, begin)

    def _check_like(self, before: VectorEnv, env: VectorEnv) -> None:
        spaces = env.single_observation_space, env.single_action_space
        first = self.spec.observation_space, self.spec.action_space
        mode = env.metadata.get("autoreset_mode")
        if (*spaces, env.num_envs, mode) != (*first, self.num_envs, self._mode):
            raise EnvError(
                "a callable given as environment must make the same at every call; it made "
                f"{before}, and now {env} with {spaces[0]}, {spaces[1]} and {mode}."
            )
        if env is before:
            raise EnvError(
                "a callable given as environment must make a new one at every call; it returned "
                f"{env} again."
            )

    def _doing_together(self, action: np.ndarray | None) -> str:
        """What the environments are at, where it is not known which of them it is about."""
        if action is None:
            return f"{self._env}, a reset after episodes {self._begun}"
        steps = f"episodes {self._begun}, steps {self._lengths}"
        return f"one of {self._env}, {steps}, actions {action.tolist()}"

    def _cut_off(self, error: Exception, action: np.ndarray | None = None) -> tuple:
        """What a step is taken to have returned that failed: the first reset of a new vector."""
        observation = self._read_reset(self._replace(error, action))
        self._resetting = np.zeros(self.num_envs, bool)
        self._cut = np.ones(self.num_envs, bool)
        nothing = np.zeros(self.num_envs, bool)
        return np.zeros(self.num_envs), nothing, nothing, observation, observation

    def _read_reset(self, result: Any) -> list[np.ndarray]:
        if not is_reset(result):
            raise self._batch_error(old_api(RESET, result))
        return self._read(result[0])

    def _read(self, observation: Any) -> list[np.ndarray]:
        try:
            return self._reader.read_batch(observation, self.num_envs)
        except EnvError as error:
            rule = str(error)
        raise self._batch_error(rule)

    def _column(self, name: str, values: Any, dtype: type) -> np.ndarray:
        if np.shape(values) != (self.num_envs,):
            raise self._batch_error(
                f"{name} must have shape {(self.num_envs,)}; received {np.shape(values)}"
            )
        return np.array(values, dtype)

    def _step(self, action: np.ndarray) -> tuple:
        try:
            result = self._env.step(action)
        except Exception as error:
            return self._cut_off(error, action)
        if not is_step(result):
            raise self._batch_error(old_api(STEP, result))
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
            try:
                reset = self._env.reset(options={"reset_mask": ended.copy()})
            except Exception as error:
                return self._cut_off(error)
            first = self._read_reset(reset)
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
            self._write_final(int(i), infos["final_obs"][i], final)
        return final

    def _write_final(self, i: int, observation: Any, final: list[np.ndarray]) -> None:
        try:
            self._reader.write(observation, final, i)
            return
        except EnvError as error:
            rule = str(error)
        raise self._error(i, f"in infos['final_obs'], {rule}")

    def _batch_error(self, rule: str) -> EnvError:
        return EnvError(f"{self._env}, steps {self._lengths} of its episodes: {rule}.")

    def _release(self) -> None:
        if self._workers is not None:
            self._workers.finish_call()
            self._workers.release()

    def _close(self) -> None:
        if self._workers is not None:
            self._workers.close()
        self._env.close()


def _rows(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *[1] * (array.ndim - 1))
