"""Running a policy for a number of episodes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.arguments import whole
from kerasrl.envs import Environments, Episode
from kerasrl.errors import EnvError
from kerasrl.policies.policy import Policy, PolicyStep, begin_anew
from kerasrl.warning import warn

#: int, steps after which an episode is broken off unless told otherwise.
MAX_EPISODE_STEPS = 108_000
_MOST_BROKEN_OFF = 100  # Episodes, by whatever else uses the environments.


def run_episodes(
    policy: Policy | Callable[[list[np.ndarray]], np.ndarray],
    environments: Environments,
    episodes: int,
    seed: int | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    max_episode_steps: int | None = MAX_EPISODE_STEPS,
) -> list[Episode]:
    """Runs whole episodes, their number per environment fixed beforehand.

    Taking the first `episodes` to finish would favour short ones; so each environment has its share
    and what it does afterwards does not count.

    Args:
        policy: `Policy`, or a callable from observation leaves `[N, ...]` to actions `[N, ...]`.
        environments: `Environments`, reset first.
        episodes: int, how many in all.
        seed: int, for the first reset.
        on_episode: callable, told of every episode that counts.
        max_episode_steps: int, steps after which an episode that has not ended is broken off, with
            a warning, and counts as it is so far; None for no limit.

    Returns:
        List of `episodes` `Episode`s, in the order in which they finished.

    Raises:
        ArgumentError: when `max_episode_steps` is not a positive int.
        EnvError: when something else keeps resetting or stepping the environments meanwhile.
    """
    share = np.full(environments.num_envs, episodes // environments.num_envs)
    share[: episodes % environments.num_envs] += 1
    finished: list[Episode] = []

    def count(episode: Episode) -> None:
        share[episode.env] -= 1
        finished.append(episode)
        on_episode(episode)

    limit = _StepLimit(environments, max_episode_steps)
    acting = policy if isinstance(policy, Policy) else _Callable(policy)
    everywhere = np.ones(environments.num_envs, bool)
    observation, broken_off = environments.reset(seed), 0
    acting.reset(everywhere)
    while len(finished) < episodes:
        step = environments.step(acting(observation).action)
        observation = step.observation
        begin_anew(acting, step)
        for episode in step.episodes:
            if share[episode.env] and not limit.spent[episode.env]:
                count(episode)
            limit.spent[episode.env] = False
        for episode in limit.after_step(share > 0):
            count(episode)
        broken_off += np.count_nonzero(step.cut)
        _check_broken_off(broken_off)
        if len(finished) < episodes and np.all(limit.spent | (share == 0)):
            observation = environments.reset()
            acting.reset(everywhere)
            limit.begin()
    return finished


class _Callable(Policy):
    """A callable from observation leaves to actions as a policy."""

    def __init__(self, act: Callable[[list[np.ndarray]], np.ndarray]):
        self._act = act

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        return PolicyStep(self._act(observation))


class _StepLimit:
    """Finds episodes that go on for too long.

    Such a one counts as it is, and its environment waits for the others before it is reset: not
    every kind can be reset alone.

    Args:
        environments: `Environments`.
        limit: int, the most steps of an episode; None for no limit.

    Attributes:
        spent: bool array `[N]`, which environments are still in an episode that was broken off.
    """

    def __init__(self, environments: Environments, limit: int | None):
        self._environments = environments
        self._limit = check_max_episode_steps(limit)
        self.spent = np.zeros(environments.num_envs, bool)
        self._warned = False
        self.begin()

    def begin(self) -> None:
        """Is told of a reset of all environments."""
        self.spent[:] = False
        self._steps_to_look = self._limit

    def after_step(self, counting: np.ndarray) -> list[Episode]:
        """Lists the episodes that this step breaks off, out of the environments that count."""
        self._steps_to_look -= 1
        if self._steps_to_look > 0:
            return []
        envs = np.nonzero(counting & ~self.spent)[0]
        running = [self._environments.unfinished(int(env)) for env in envs]
        lengths = [episode.length for episode in running if episode.length < self._limit]
        self._steps_to_look = self._limit - max(lengths, default=0)
        found = [episode for episode in running if episode.length >= self._limit]
        for episode in found:
            self.spent[episode.env] = True
            self._warn(episode)
        return found

    def _warn(self, episode: Episode) -> None:
        if not self._warned:
            self._warned = True
            warn(
                f"environment {episode.env}: an episode has not ended after max_episode_steps="
                f"{self._limit} steps. It is broken off, and its return so far, "
                f"{episode.episode_return:.6g}, is taken for that of the whole, as it is for every "
                "one that goes on for so long. Raise max_episode_steps, or limit the episodes with "
                "gymnasium.wrappers.TimeLimit."
            )


def check_max_episode_steps(value: Any) -> float:
    """The limit as a number; raises `ArgumentError` unless it is a positive int or None."""
    limit = whole("max_episode_steps", value, optional=True)
    return math.inf if limit is None else limit


def _check_broken_off(count: int) -> None:
    if count > _MOST_BROKEN_OFF:
        raise EnvError(
            f"{count} episodes were broken off before they ended, by whatever else resets or steps "
            "these environments. Run episodes in environments of their own."
        )
