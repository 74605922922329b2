"""Annealing."""

import operator
from typing import Any

from kerasrl.arguments import real, whole
from kerasrl.errors import ArgumentError
from kerasrl.run import AgentCallback


class LinearSchedule(AgentCallback):
    """Moves a weight of the agent from one value to another in a straight line, then holds it.

    Args:
        weight: str, the attribute that holds the weight, such as `"epsilon"`; dots reach further,
            as in `"optimizer.learning_rate"`.
        start: float, the value at the beginning.
        end: float, the value held from the end of the line on.
        env_steps: int, the length of the line in environment steps of the agent's life.
        steps: int, its length in gradient steps of the agent's life instead.

    Raises:
        ArgumentError: unless exactly one of `env_steps` and `steps` is a positive int.
    """

    def __init__(
        self,
        weight: str,
        start: float,
        end: float,
        env_steps: int | None = None,
        steps: int | None = None,
    ):
        super().__init__()
        if (env_steps is None) == (steps is None):
            raise ArgumentError(
                "LinearSchedule needs exactly one of env_steps and steps, a positive int; received "
                f"env_steps={env_steps} and steps={steps}."
            )
        self.weight = weight
        self.start = real("start", start)
        self.end = real("end", end)
        self.env_steps = whole("env_steps", env_steps, optional=True)
        self.steps = whole("steps", steps, optional=True)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Finds the weight and sets it."""
        try:
            self._variable = operator.attrgetter(self.weight)(self.model)
        except AttributeError as error:
            raise ArgumentError(
                f"LinearSchedule anneals a weight of the agent; {type(self.model).__name__} has no "
                f"{self.weight!r}."
            ) from error
        if not hasattr(self._variable, "assign"):
            raise ArgumentError(
                f"LinearSchedule anneals a weight of the agent; {self.weight!r} of "
                f"{type(self.model).__name__} is {self._variable!r}. Make it with add_weight()."
            )
        self._set()

    def update_period(self, steps_per_epoch: int) -> int:
        """Every gradient step, if its line is counted in them; else with the collector."""
        return 1 if self.steps else 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the weight."""
        self._set()

    def value(self, position: int) -> float:
        """The value after `position` environment or gradient steps."""
        fraction = min(position / (self.env_steps or self.steps or 1), 1.0)
        return self.start + fraction * (self.end - self.start)

    def _set(self) -> None:
        done = self.model.env_steps if self.env_steps else self.model.gradient_steps
        self._variable.assign(self.value(int(done.numpy())))
