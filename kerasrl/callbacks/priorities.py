"""Handing the new priorities of a batch to the replay."""

from typing import Any

import numpy as np

from kerasrl.run import AgentCallback


class UpdatePriorities(AgentCallback):
    """Gives the replay the priorities that `agent.prioritize` was handed, after every execution.

    `fit` adds it where the replay has `priorities`. A pipeline samples ahead, so that they show
    some batches later, see `kerasrl.replay.Prioritized`.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Makes room for those of an execution."""
        batch_size = self.model.run.batch_size
        if batch_size is not None:
            self.model.make_room_for_priorities(batch_size)
        self.model.take_priorities()  # Those of another run.

    def update_period(self, steps_per_epoch: int) -> int:
        """Every gradient step, as what is sampled depends on it."""
        return 1

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Hands them over."""
        keys, priorities = self.model.take_priorities()
        finite = np.isfinite(priorities)  # What has become NaN is told of by `NonFiniteCheck`.
        self.model.run.replay.update_priorities(keys[finite], priorities[finite])
