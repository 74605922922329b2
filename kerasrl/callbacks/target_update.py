"""How target networks follow."""

from typing import Any

from kerasrl.arguments import positive, whole
from kerasrl.errors import ArgumentError
from kerasrl.run import AgentCallback


class TargetUpdate(AgentCallback):
    """Sets how often and how far the agent's target networks move.

    The update itself is part of the agent's `train_step`, so that it happens after every gradient
    step it is due after, whatever `steps_per_execution` is. Running statistics, such as those of
    normalisers, are the network's own at every step, whatever the two numbers are.

    Args:
        period: int, gradient steps from one update to the next.
        step_size: float in (0, 1], how much of the way to go; 1 copies.

    Raises:
        ArgumentError: when an argument is out of its range.
    """

    def __init__(self, period: int = 1, step_size: float = 1.0):
        super().__init__()
        self.period = whole("period", period)
        self.step_size = positive("step_size", step_size, "in (0, 1]")
        if self.step_size > 1.0:
            raise ArgumentError(f"step_size must be in (0, 1]; received {step_size}.")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Writes both numbers into every target network, which takes over the statistics."""
        for target in self.model.targets:
            target.take_statistics()
            target.period.assign(self.period)
            target.step_size.assign(self.step_size)
