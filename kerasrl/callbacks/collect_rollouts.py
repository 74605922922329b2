"""Collecting rollouts while training."""

import math
from typing import Any

from kerasrl.arguments import whole
from kerasrl.callbacks.collector import check_replicas
from kerasrl.callbacks.queue_collector import QueueCollector
from kerasrl.compatibility import steps_per_execution
from kerasrl.errors import ArgumentError
from kerasrl.experience import Experience, Rollouts
from kerasrl.run import Fitted
from kerasrl.warning import warn

_LONG = 100_000  # Environment steps without the end of an episode.


class CollectRollouts(QueueCollector):
    """Acts for a number of steps with the newest policy, and has the agent learn from just these.

    Before every update that needs one it collects a rollout of `length` steps in each of the N
    environments, and puts it into the replay's queue as one `[length, N, ...]` item. Episodes go on
    from one rollout to the next. What it logs, and how to act otherwise, is in its base class
    `Collector`. Actions beyond the bounds of a Box are clipped for the environment, and go
    into the rollout as they were drawn.

    Args:
        length: int, steps of each environment in a rollout.

    Raises:
        ArgumentError: when `length` is not a positive int, or does not go with the batch size or
            with `steps_per_execution`.
    """

    def __init__(self, length: int = 128):
        super().__init__()
        self.length = whole("length", length)

    def experience(self) -> Experience:
        """Rollouts."""
        return Rollouts(self.length)

    def updates(self, env_steps: int) -> int:
        """Gradient steps that a budget of environment steps allows, of whole rollouts."""
        return math.ceil(env_steps / self._env_steps_per_rollout) * self.updates_per_turn

    def update_period(self, steps_per_epoch: int) -> int:
        """The updates that a rollout is for, or a part of them that makes up an epoch."""
        return math.gcd(self.updates_per_turn, steps_per_epoch)

    def whole_turns(self, updates: int) -> int:
        """The least number of gradient steps of whole rollouts, of no fewer than `updates`."""
        return math.ceil(updates / self.updates_per_turn) * self.updates_per_turn

    def whole(self, env_steps: int) -> int:
        """Environment steps that are taken for a budget of so many: those of whole rollouts."""
        return math.ceil(env_steps / self._env_steps_per_rollout) * self._env_steps_per_rollout

    def prepare(self, agent: Fitted) -> None:
        """Copies the policy, and works out how many updates a rollout is for."""
        super().prepare(agent)
        rows, batch_size = self._env_steps_per_rollout, agent.run.batch_size
        if batch_size is not None and rows % batch_size:
            raise ArgumentError(
                f"batch_size must divide a rollout, which is length={self.length} steps of "
                f"{self._environments.num_envs} environments, {rows} in all; received {batch_size}."
            )
        check_replicas(agent, rows)
        minibatches = 1 if batch_size is None else rows // batch_size
        self.updates_per_turn = agent.update_epochs * minibatches

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets the environments."""
        super().on_train_begin(logs)
        self._warned = False
        together = steps_per_execution(self.model)
        if self.updates_per_turn % together or (self.params["steps"] or 0) % together:
            raise ArgumentError(
                f"steps_per_execution={together} must divide both the {self.updates_per_turn} "
                f"updates that a rollout is for and steps_per_epoch={self.params['steps']}, as "
                "nothing is collected within an execution. Change one of them."
            )

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called, with another rollout if there is none to go on."""
        super().set_state(state)
        if self.model.run.resumed.replay is None:
            self._updates += -self._updates % self.updates_per_turn

    @property
    def exhausted(self) -> bool:
        """Whether the budget of environment steps is used up."""
        return self._due and self._taken >= self._budget

    @property
    def _due(self) -> bool:
        return self._updates % self.updates_per_turn == 0

    @property
    def _env_steps_per_rollout(self) -> int:
        return self.length * self._environments.num_envs

    def _warn_of_endless_episodes(self) -> None:
        endless = not self._episodes.count and "episode_return" not in self._logs
        if endless and self._taken >= _LONG and not self._warned:
            self._warned = True
            warn(
                f"no episode has ended in {self._taken} environment steps, so that there is no "
                "episode_return to log. If episodes are meant to end, see to it that they do, e.g. "
                "with gymnasium.wrappers.TimeLimit."
            )

    def _collect(self) -> None:
        self._run(items=1)
        self._warn_of_endless_episodes()
