"""Collecting whole episodes while training."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import whole
from kerasrl.callbacks.collector import check_replicas, within_bounds
from kerasrl.callbacks.queue_collector import QueueCollector
from kerasrl.errors import ArgumentError, EnvError
from kerasrl.experience import RolloutBuffer, rollout_spec
from kerasrl.policies import PolicySpec, PolicyStep


class CollectEpisodes(QueueCollector):
    """Runs whole episodes with the newest policy, and has the agent learn from just these.

    Before every update it runs `episodes` episodes, and puts them into the replay's queue as one
    `[max_steps, episodes, ...]` item, the rest of each column being not `valid`. Every environment
    has its share of them beforehand, so that short ones are not preferred; what it does after its
    share is not learned from, so that one environment wastes nothing. A budget of environment
    steps ends the run with the episodes that reach it. What it logs, and how to act otherwise, is
    in its base class `Collector`.

    Args:
        episodes: int, episodes for an update.
        max_steps: int, the longest episode there may be.

    Raises:
        ArgumentError: when an argument is not a positive int.
        EnvError: when an episode goes on for longer than `max_steps`.
    """

    steps_per_epoch = 50

    def __init__(self, episodes: int = 2, max_steps: int = 1_000):
        super().__init__()
        self.episodes = whole("episodes", episodes)
        self.max_steps = whole("max_steps", max_steps)

    def experience_spec(self) -> dict[str, Any]:
        """One item: `episodes` episodes side by side."""
        spec = self._environments.spec
        output = self._policy.output
        policy_spec = PolicySpec(tf.TensorSpec(output.shape[1:], output.dtype))
        return rollout_spec(spec, policy_spec, self.max_steps, self.episodes)

    def updates(self, env_steps: int) -> int:
        """Gradient steps that a budget of environment steps allows, were all episodes one long."""
        return math.ceil(env_steps / self.episodes)

    def whole(self, env_steps: int) -> int:
        """What is asked for; how much longer the last episodes are is not known."""
        return env_steps

    def prepare(self, agent: Any) -> None:
        """Copies the policy, and checks that an update can take all the episodes at once."""
        super().prepare(agent)
        if agent.run.batch_size is not None:
            raise ArgumentError(
                f"{type(agent).__name__} learns from all the episodes of an update at once, and "
                f"takes no batch_size; received {agent.run.batch_size}. Leave it out, or pass "
                "CollectEpisodes(episodes=...)."
            )
        check_replicas(agent, self.max_steps * self.episodes)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments."""
        super().on_train_begin(logs)
        together = int(self.model.steps_per_execution.numpy())
        if together > 1:
            raise ArgumentError(
                f"steps_per_execution must be 1, as episodes are collected before every update; "
                f"received {together}."
            )

    def get_state(self) -> dict[str, Any]:
        """That of every collector, and whether all episodes are at their start."""
        return {**super().get_state(), "at_start": self._at_start}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        super().set_state(state)
        if state["environments"] is not None:
            self._at_start = state["at_start"]

    def _restart(self, seed: int | None) -> None:
        super()._restart(seed)
        self._at_start = True

    def _collect(self) -> np.ndarray:
        if not self._at_start:
            self._restart(seed=None)
        writer = RolloutBuffer(self._replay.packer, self._env_steps)
        num_envs = self._environments.num_envs
        columns = [list(range(env, self.episodes, num_envs)) for env in range(num_envs)]
        times = np.zeros(num_envs, np.int64)
        while any(columns):
            observation = self._observation
            action = self.act(observation)
            step = self._step(within_bounds(action, self.model.action_space))
            active = np.array([bool(left) for left in columns]) & step.valid
            column = np.array([left[0] if left else 0 for left in columns])
            where = (times[active], column[active])
            writer.write(where, observation, PolicyStep(action, self._output), step, of=active)
            times += active
            ended = step.terminated | step.truncated
            truncated = active & step.truncated
            if np.count_nonzero(truncated):
                output = self._policy(step.next_observation)[truncated]
                following = writer.column("next_policy")
                following[times[truncated] - 1, column[truncated]] = output
            for env in np.nonzero(active & ended)[0]:
                columns[env].pop(0)
                times[env] = 0
            for env in np.nonzero(step.cut & (times > 0))[0]:
                writer.drop(columns[env][0])
                times[env] = 0
            self._check_length(times)
        self._at_start = bool(np.all(ended))
        writer.fill()
        return writer.packed

    def _check_length(self, times: np.ndarray) -> None:
        if times.max() >= self.max_steps:
            env = int(times.argmax())
            raise EnvError(
                f"environment {env}: an episode has not ended after max_steps={self.max_steps} "
                f"steps, and {type(self.model).__name__} learns from whole episodes. Pass "
                "CollectEpisodes(max_steps=...) with more, or wrap the environment in "
                "gymnasium.wrappers.TimeLimit."
            )
