"""Environments, a policy and a writer, at work together."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from kerasrl.envs import Environments, Episode, Step
from kerasrl.experience import Writer
from kerasrl.policies import Policy
from kerasrl.policies.policy import begin_anew

#: Is told of every step: the leaf arrays `[N, ...]` that were acted on, the actions `[N, ...]` that
#: were taken, and the `Step` that followed, with the environment's own rewards.
Observer = Callable[[list[np.ndarray], np.ndarray, Step], None]


class Drained(NamedTuple):
    """What an actor has to tell of its steps.

    Args:
        episodes: list of the `kerasrl.envs.Episode`s that ended.
        seen: list of leaf arrays `[M, ...]`, the observations that were acted on, for normalisers
            to adapt to; empty of an actor that keeps none, or when there are none.
    """

    episodes: list[Episode]
    seen: list[np.ndarray]


class Actor:
    """Acts in N environments and writes what happens.

    It knows no agent and needs none, so that it may run in a thread or in another process: the
    policy's weights come in as arrays, and what others need leaves it as data.

    Args:
        environments: `Environments`.
        policy: `Policy`; another may take its place between runs.
        writer: `kerasrl.experience.Writer`; None to write nothing.
        reward_scale: float, what rewards are multiplied by for the writer.
        clips: bool, whether actions beyond the bounds of a Box are clipped for the environments;
            the writer has them as they were drawn.
        keeps_seen: bool, whether the observations that were acted on are kept until `drain`.
        observers: sequence of `Observer`s, called in every step before it is written.

    Attributes:
        env_steps: int, environment steps taken.
        observation: list of `[N, ...]` leaf arrays to act on next; None before the first `restart`.
    """

    def __init__(
        self,
        environments: Environments,
        policy: Policy,
        writer: Writer | None = None,
        *,
        reward_scale: float = 1.0,
        clips: bool = False,
        keeps_seen: bool = False,
        observers: Sequence[Observer] = (),
    ):
        self.policy, self.writer = policy, writer
        self.env_steps = 0
        self.observation: Any = None
        self._environments = environments
        self._reward_scale = reward_scale
        self._space = environments.spec.action_space if clips else None
        self._keeps_seen = keeps_seen
        self._observers = list(observers)
        self._episodes: list[Episode] = []
        self._seen: list[list[np.ndarray]] = []

    def restart(self, seed: int | None = None, writer: Writer | None = None) -> None:
        """Begins new episodes everywhere; the first `run` does it if nobody else has.

        Args:
            seed: int, for the environments.
            writer: another to write with, as the episodes that were begun do not go on; None keeps
                the one there is.
        """
        self.writer = self.writer if writer is None else writer
        self.observation = self._environments.reset(seed)
        self.policy.reset(np.ones(self._environments.num_envs, bool))

    def run(self, steps: float | None = None, items: int | None = None) -> None:
        """Acts for some time.

        Args:
            steps: int, environment steps to take at the least: environments are stepped together,
                and some may need a step to reset. None for no limit.
            items: int, what the writer has to write at the least. None for no limit. It ends with
                whichever of the two is reached first.
        """
        if self.observation is None:
            self.restart()
        last_step = math.inf if steps is None else self.env_steps + steps
        last_item = math.inf if items is None else self._items + items
        while self.env_steps < last_step and self._items < last_item:
            self._step()

    def drain(self) -> Drained:
        """Hands over what is kept of the steps since the last time."""
        seen = [np.concatenate(leaf) for leaf in zip(*self._seen, strict=True)]
        drained = Drained(self._episodes, seen)
        self._episodes, self._seen = [], []
        return drained

    def get_state(self) -> dict[str, Any]:
        """What it takes to go on where it is, the policy's weights aside."""
        return {
            "env_steps": self.env_steps,
            "seen": self._seen,
            "policy": self.policy.get_state(),
            "writer": None if self.writer is None else self.writer.get_state(),
            "observation": self.observation,
            "environments": self._environments.get_state(),
        }

    def set_state(self, state: dict[str, Any], within_episodes: bool = True) -> None:
        """Goes on where `get_state` was called.

        Args:
            state: what that gave, once the episodes that had ended were drained.
            within_episodes: bool, whether the environments go on within their episodes, for which
                their state has to be there; else `restart` comes next.
        """
        self.env_steps, self._seen = state["env_steps"], state["seen"]
        self.policy.set_state(state["policy"])
        if within_episodes:
            self._environments.set_state(state["environments"])
            self.observation = state["observation"]
            if self.writer is not None:
                self.writer.set_state(state["writer"])

    @property
    def _items(self) -> int:
        return 0 if self.writer is None else self.writer.items

    def _step(self) -> None:
        observation = self.observation
        acted = self.policy(observation)
        action = acted.action
        if self._space is not None:
            action = within_bounds(action, self._space)
        step = self._environments.step(action)
        self._keep(observation, step)
        for observer in self._observers:
            observer(observation, action, step)
        if self.writer is not None:
            self.writer.append(observation, acted, self._scaled(step))
        begin_anew(self.policy, step)

    def _keep(self, observation: list[np.ndarray], step: Step) -> None:
        self.observation = step.observation
        taken = np.count_nonzero(step.valid)
        self.env_steps += taken
        self._episodes += step.episodes
        if self._keeps_seen and taken:
            self._seen.append([leaf[step.valid] for leaf in observation])

    def _scaled(self, step: Step) -> Step:
        if self._reward_scale == 1.0:
            return step
        return step._replace(reward=step.reward * np.float32(self._reward_scale))


def within_bounds(action: np.ndarray, space: gym.Space) -> np.ndarray:
    """Clips actions to a Box; a Gaussian policy goes beyond. Others are returned as they are."""
    if isinstance(space, gym.spaces.Box) and np.shape(action)[1:] == space.shape:
        return np.clip(action, space.low, space.high).astype(space.dtype)
    return action
