"""A Gymnasium `VectorEnv` under any of its three autoreset modes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from kerasrl.envs.api import RESET, STEP, is_reset, is_step, old_api
from kerasrl.envs.async_workers import AsyncWorkers
from kerasrl.envs.environments import Environments
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.infos import VectorInfos, final_observation
from kerasrl.envs.restarter import Restarter, restart_seed
from kerasrl.envs.scalars import FLAGS, REWARDS
from kerasrl.envs.spec import EnvSpec
from kerasrl.envs.watch import Watch
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
        self._watches: list[Watch] = []
        self._use(env)
        self._infos = VectorInfos({}, env.num_envs)

    def _use(self, env: VectorEnv) -> None:
        for watch in self._watches:
            watch.release()
        self._env, self._watches = env, [Watch(env)]
        self._workers = AsyncWorkers.of(env, self._timeout)

    def _reset(self, seed: int | None) -> list[np.ndarray]:
        try:
            result = self._call_reset(seed)
        except Exception as error:
            result = self._replace(error)
        return self._read_reset(result)

    def _call_reset(self, seed: int | None) -> Any:
        with self._watches[0]:
            return self._env.reset(seed=seed)

    def _replace(self, error: Exception, action: np.ndarray | None = None) -> Any:
        """Puts a new vector in the place of one that failed, and returns its first reset."""

        def begin(env: VectorEnv, restart: int) -> Any:
            before = self._env
            self._use(env)  # So that it is closed, whatever it turns out to be.
            self._check_like(before, env)
            return self._call_reset(restart_seed(self._seed, 0, restart))

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

    def _begun_anew(self, observation: list[np.ndarray]) -> tuple:
        """What a step is taken to have returned that was none: the first of new episodes."""
        self._resetting = np.zeros(self.num_envs, bool)
        self._cut = np.ones(self.num_envs, bool)
        self._infos = VectorInfos({}, self.num_envs)
        nothing = np.zeros(self.num_envs, bool)
        return np.zeros(self.num_envs), nothing, nothing, observation, observation

    def _failed(self, error: Exception, action: np.ndarray | None = None) -> tuple:
        return self._begun_anew(self._read_reset(self._replace(error, action)))

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

    def _column(self, name: str, values: Any, kinds: str) -> np.ndarray:
        if np.shape(values) != (self.num_envs,):
            raise self._batch_error(
                f"{name} must have shape {(self.num_envs,)}; received {np.shape(values)}"
            )
        array = np.array(values)
        if array.dtype.kind not in kinds:
            rule = "bools" if kinds == FLAGS else "numbers"
            raise self._batch_error(
                f"{name} must be {rule}; received {array.tolist()} of {array.dtype}"
            )
        return array if kinds == FLAGS else array.astype(float)

    def _step(self, action: np.ndarray) -> tuple:
        with self._watches[0] as watch:
            if watch.disturbed:
                self._warn_of_others(str(self._env))
                return self._begun_anew(self._reset(None))
            return self._step_undisturbed(action)

    def _step_undisturbed(self, action: np.ndarray) -> tuple:
        try:
            result = self._env.step(action)
        except Exception as error:
            return self._failed(error, action)
        if not is_step(result):
            raise self._batch_error(old_api(STEP, result))
        next_observation = self._read(result[0])
        reward = self._column("the reward", result[1], REWARDS)
        terminated = self._column("terminated", result[2], FLAGS)
        truncated = self._column("truncated", result[3], FLAGS)
        ended = terminated | truncated
        observation = next_observation
        same_step = self._mode == AutoresetMode.SAME_STEP
        self._infos = VectorInfos(result[4], self.num_envs, ended if same_step else None)
        if self._mode == AutoresetMode.NEXT_STEP:
            self._resetting = ended
        elif ended.any() and same_step:
            next_observation = self._with_final(next_observation, result[4], ended)
        elif ended.any():
            try:
                reset = self._env.reset(options={"reset_mask": ended.copy()})
            except Exception as error:
                return self._failed(error)
            first = self._read_reset(reset)
            observation = [
                np.where(_rows(ended, new), new, old)
                for new, old in zip(first, next_observation, strict=True)
            ]
        return reward, terminated, truncated, next_observation, observation

    def _with_final(
        self, observation: list[np.ndarray], infos: Any, ended: np.ndarray
    ) -> list[np.ndarray]:
        final = [leaf.copy() for leaf in observation]
        for i in np.nonzero(ended)[0]:
            last = final_observation(infos, int(i))
            if last is None:
                raise self._error(
                    int(i),
                    "a VectorEnv with autoreset mode SAME_STEP must give the last observation of "
                    "an episode in infos['final_obs']; it is missing. Use AutoresetMode.NEXT_STEP",
                )
            self._write_final(int(i), last, final)
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
