"""Collecting whole episodes while training."""

import math
from typing import Any

from kerasrl.arguments import whole
from kerasrl.callbacks.collector import check_replicas
from kerasrl.callbacks.queue_collector import QueueCollector
from kerasrl.compatibility import steps_per_execution
from kerasrl.errors import ArgumentError
from kerasrl.experience import Episodes, Experience
from kerasrl.run import Fitted


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

    def experience(self) -> Experience:
        """Whole episodes."""
        return Episodes(self.episodes, self.max_steps)

    def updates(self, env_steps: int) -> int:
        """Gradient steps that a budget of environment steps allows, were all episodes one long."""
        return math.ceil(env_steps / self.episodes)

    def update_period(self, steps_per_epoch: int) -> int:
        """Every update, as it needs episodes of its own."""
        return 1

    def whole(self, env_steps: int) -> int:
        """What is asked for; how much longer the last episodes are is not known."""
        return env_steps

    def prepare(self, agent: Fitted) -> None:
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
        together = steps_per_execution(self.model)
        if together > 1:
            raise ArgumentError(
                f"steps_per_execution must be 1, as episodes are collected before every update; "
                f"received {together}."
            )

    def _collect(self) -> None:
        if not self._writer.at_start:
            self._restart(seed=None)
        self._run(items=1)
