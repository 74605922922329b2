"""A Gymnasium `VectorEnv` under any of its three autoreset modes."""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from kerasrl.envs.api import RESET, STEP, is_reset, is_step, old_api
from kerasrl.envs.environments import Environments
from kerasrl.envs.spec import EnvSpec
from kerasrl.errors import EnvError


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
        if not is_reset(result):
            raise self._batch_error(old_api(RESET, result))
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
