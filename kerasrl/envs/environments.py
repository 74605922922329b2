"""One face for every kind of environment: a vector of them, with episode ends made explicit."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasrl.envs.actions import ActionReader
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.observations import ObservationReader
from kerasrl.envs.restarter import Restarter
from kerasrl.envs.spec import EnvSpec
from kerasrl.envs.step import Episode, Step
from kerasrl.envs.watch import Watch
from kerasrl.errors import EnvError, NonFiniteLoss
from kerasrl.warning import warn

_LARGEST_REWARD = np.finfo(np.float32).max
_BOUNDS_PERIOD = 97  # A prime, so that it is not always the same step of equally long episodes.


class Environments(abc.ABC):
    """N environments that are stepped together and reset themselves.

    Args:
        spec: `EnvSpec` of each environment.
        num_envs: int, N.
        owned: bool, whether `close` closes the environments.
        faults: `FaultPolicy`, what is done about rewards and observations that break the rules.
    """

    _restarter: Restarter
    _watches: list[Watch]
    _infos: Sequence[Mapping[str, Any]]  # Of the last step, one for each environment.

    def __init__(self, spec: EnvSpec, num_envs: int, owned: bool, faults: FaultPolicy):
        self.spec = spec
        self.num_envs = num_envs
        self._owned = owned
        self._nan_policy = faults.nan_policy
        self._strict = faults.strict
        self._reader = ObservationReader(spec.observation_space)
        self._actions = ActionReader(spec.action_space, num_envs)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._begun = np.zeros(num_envs, np.int64)  # Episodes.
        self._resetting = np.zeros(num_envs, bool)
        self._nothing_cut = np.zeros(num_envs, bool)
        self._nothing_cut.flags.writeable = False
        self._cut = self._nothing_cut
        self._seed: int | None = None
        self._warned: set[str] = set()
        self._bounds_period = 1 if faults.strict else _BOUNDS_PERIOD
        self._steps_to_bounds = self._bounds_period

    def reset(self, seed: int | None = None) -> list[np.ndarray]:
        """Starts a new episode everywhere; environment i is seeded with `seed + i`.

        Returns:
            List of `[N, ...]` leaf arrays: the first observations.

        Raises:
            EnvError: when an observation is not one of the space's.
            Exception: whatever an environment raises, with a note that says which one.
        """
        self._returns[:] = 0
        self._lengths[:] = 0
        self._resetting[:] = False
        self._cut = self._nothing_cut
        self._seed = self._seed if seed is None else seed
        observation = self._reset(seed)
        self._begun += 1
        self._check_finite(observation)
        self._check_bounds(observation)
        return observation

    def step(self, action: np.ndarray) -> Step:
        """Takes one action, `[N, ...]` in the environment's own units, in each environment.

        They are cast to the space's dtype where no value is lost. An environment that something
        else has reset or stepped since begins a new episode instead, with a warning.

        Raises:
            ArgumentError: when the actions are of another shape, or no numbers of that dtype.
            NonFiniteLoss: when an action is NaN or infinite, unless `nan_policy` is "warn".
            EnvError: when a reward or an observation breaks the rules of the environment's spaces.
            Exception: whatever an environment raises, with a note that says which one and when.
        """
        action = self._actions.read(action)
        self._check_action(action)
        valid = ~self._resetting
        self._lengths += valid
        reward, terminated, truncated, next_observation, observation = self._step(action)
        cut, self._cut = self._cut, self._nothing_cut
        if cut is not self._nothing_cut:
            valid &= ~cut
            self._break_off(cut)
        self._check_reward(reward, action, valid)
        self._check_finite(next_observation, action)
        self._returns += reward * valid
        ended = valid & (terminated | truncated)
        episodes = self._finish(ended) if np.count_nonzero(ended) else []
        if observation is not next_observation:
            self._check_finite(observation)
            if self._strict:
                self._check_bounds(observation)
        self._steps_to_bounds -= 1
        if self._steps_to_bounds == 0:
            self._check_bounds(next_observation)
        return Step(
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated & ~terminated,
            next_observation=next_observation,
            observation=observation,
            valid=valid,
            episodes=episodes,
            cut=cut,
            infos=self._infos,
        )

    def unfinished(self, env: int) -> Episode:
        """The episode that an environment is in, as it is so far."""
        return self._episode(env)

    def get_state(self) -> dict[str, Any] | None:
        """What it takes to go on within the episodes; None when it cannot be had."""
        envs = self._get_states()
        if envs is None:
            return None
        return {
            "layers": self.layers,
            "envs": envs,
            "returns": self._returns.copy(),
            "lengths": self._lengths.copy(),
            "begun": self._begun.copy(),
            "resetting": self._resetting.copy(),
            "seed": self._seed,
            "restarts": self._restarter.count,
            "disturbed": [watch.disturbed for watch in self._watches],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called, with environments of the same `layers`."""
        self._set_states(state["envs"])
        self._returns[:] = state["returns"]
        self._lengths[:] = state["lengths"]
        self._begun[:] = state["begun"]
        self._resetting[:] = state["resetting"]
        self._seed = state["seed"]
        self._restarter.count = state["restarts"]
        disturbed = state.get("disturbed", [False] * len(self._watches))
        for watch, was_disturbed in zip(self._watches, disturbed, strict=True):
            watch.disturbed = was_disturbed

    def notice_others(self) -> bool:
        """Whether something else has used an environment meanwhile; it is worth one warning."""
        disturbed = [i for i, watch in enumerate(self._watches) if watch.disturbed]
        if disturbed:
            self._warn_of_others(f"environment {disturbed[0]}")
        return bool(disturbed)

    def expect_others(self) -> None:
        """Is told that something else uses the environments too, which is then worth no warning."""
        self._warned.add("others")

    def close(self) -> None:
        """Closes the environments if they were made by kerasrl; leaves others open."""
        for watch in self._watches:
            watch.release()
        if self._owned:
            self._close()
        else:
            self._release()

    @abc.abstractmethod
    def _reset(self, seed: int | None) -> list[np.ndarray]: ...

    @abc.abstractmethod
    def _step(self, action: np.ndarray) -> tuple: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    @abc.abstractmethod
    def _release(self) -> None:
        """Leaves the environments as they were given."""

    @property
    def layers(self) -> list[list[str]]:
        """The classes that each environment is made of, where states can be had."""
        return []

    def _get_states(self) -> list[Any] | None:
        return None

    def _set_states(self, states: list[Any]) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no state to set.")

    def _finish(self, ended: np.ndarray) -> list[Episode]:
        episodes = [self._episode(int(i)) for i in np.nonzero(ended)[0]]
        self._break_off(ended)
        return episodes

    def _episode(self, env: int) -> Episode:
        account = float(self._returns[env]), int(self._lengths[env])
        return Episode(env, *account, self._infos[env])

    def _break_off(self, envs: np.ndarray) -> None:
        self._returns[envs] = 0
        self._lengths[envs] = 0
        self._begun[envs] += 1

    def _cut_off(self, env: int) -> None:
        """Notes that an environment begins another episode in place of the step asked for."""
        self._lengths[env] = 0
        self._cut = self._cut.copy()
        self._cut[env] = True

    def _warn_of_others(self, name: str) -> None:
        """Warns, once, that something else has used an environment within an episode."""
        if "others" not in self._warned:
            self._warned.add("others")
            warn(
                f"{name} was reset or stepped by something else in the middle of an episode, which "
                "is broken off: a new one begins. Evaluate, film and try things out in others."
            )

    def _check_action(self, action: np.ndarray) -> None:
        """Looks for what a policy gives whose weights are NaN; no environment is at fault there."""
        env = self._actions.non_finite(action)
        if env is None or "action" in self._warned:
            return
        message = (
            f"the action for environment {env}, step {self._lengths[env] + 1} of its episode, is "
            f"{action[env]}, and must be finite. It comes from the policy, whose weights may have "
            "become NaN or infinite. Try a smaller learning rate, an optimizer with clipnorm, or "
            "reward_scale."
        )
        if self._nan_policy != "warn":
            raise NonFiniteLoss(message)
        self._warned.add("action")
        warn(message)

    def _check_reward(self, reward: np.ndarray, action: np.ndarray, valid: np.ndarray) -> None:
        finite = np.abs(reward) <= _LARGEST_REWARD
        if np.count_nonzero(finite) < self.num_envs:
            env = int(np.argmin(finite))
            rule = "the reward must be a finite float32"
            self._non_finite(env, rule, f"{reward[env]} for the action {action[env]}")
            if self._nan_policy == "zero":
                reward[~finite] = 0
            reward[~valid] = 0
            reward[np.abs(reward) > _LARGEST_REWARD] *= np.inf

    def _check_finite(
        self, observation: list[np.ndarray], action: np.ndarray | None = None
    ) -> None:
        found = self._reader.non_finite(observation)
        if found:
            path, env, value = found
            after = "" if action is None else f" after the action {action[env]}"
            self._non_finite(env, f"{path} must be finite float32s", f"{value}{after}")
            if self._nan_policy == "zero":
                self._reader.zero_non_finite(observation)

    def _non_finite(self, env: int, rule: str, received: str) -> None:
        """Raises or warns about a value that is not finite, as the policy says."""
        if self._nan_policy == "raise":
            way_out = 'Mend the environment, or choose nan_policy="zero" or "warn"'
            raise self._error(env, f"{rule}; received {received}. {way_out}")
        if rule not in self._warned:
            self._warned.add(rule)
            used = "0 is used in its place" if self._nan_policy == "zero" else "it is used as it is"
            warn(
                f"{self._error(env, f'{rule}; received {received}')} As "
                f'nan_policy="{self._nan_policy}", {used}, here and wherever it happens again.'
            )

    def _check_bounds(self, observation: list[np.ndarray]) -> None:
        """Looks for what is outside of the space; that takes time, so not always at every step."""
        if "bounds" in self._warned:
            return
        self._steps_to_bounds = self._bounds_period
        if (found := self._reader.out_of_bounds(observation)) is None:
            return
        env, rule = found
        way_out = "Mend the environment or the bounds of its observation_space"
        if self._strict:
            raise self._error(env, f"{rule}. {way_out}, or leave strict at False")
        self._warned.add("bounds")
        warn(f"environment {env}: {rule}. It is used as it is. {way_out}.")

    def _doing(self, env: int, action: np.ndarray | None = None) -> str:
        """What an environment is at, in words: a step, or a reset where there is no action."""
        if action is None:
            return f"environment {env}, reset for episode {self._begun[env] + 1}"
        episode, step = self._begun[env], self._lengths[env]
        return f"environment {env}, episode {episode}, step {step}, action {action[env]}"

    def _error(self, env: int, rule: str, step: int | None = None) -> EnvError:
        step = self._lengths[env] if step is None else step
        return EnvError(f"environment {env}, step {step} of its episode: {rule}.")
