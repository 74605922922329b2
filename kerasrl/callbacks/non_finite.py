"""Noticing that what is learned has become NaN or infinite."""

import math
from typing import Any

import numpy as np

from kerasrl.checkpoints.checkpoint import Checkpoint
from kerasrl.errors import NonFiniteLoss
from kerasrl.run import AgentCallback
from kerasrl.warning import warn


class NonFiniteCheck(AgentCallback):
    """Ends the run with an error as soon as a figure of a gradient step is NaN or infinite.

    `fit` adds it, unless `keras.callbacks.TerminateOnNaN` was passed, which ends it without one.
    With `nan_policy="warn"` it warns once and goes on.

    Raises:
        NonFiniteLoss: at the end of the execution that the figure is of.
    """

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Has not warned yet."""
        self._warned = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the figures of the gradient steps just done."""
        found = {name: value for name, value in (logs or {}).items() if not math.isfinite(value)}
        if not found or self._warned:
            return
        if self.model.run.faults.nan_policy == "warn":
            self._warned = True
            warn(self._message(found))
        else:
            raise NonFiniteLoss(self._message(found))

    def _message(self, found: dict[str, Any]) -> str:
        figures = ", ".join(f"{name}={float(value)}" for name, value in found.items())
        return (
            f"{type(self.model).__name__} gave {figures} by gradient step "
            f"{int(self.model.gradient_steps.numpy())}; {self._weights()}. "
            f"{self._checkpoint()}Try a smaller learning rate, an optimizer with clipnorm, or "
            "reward_scale."
        )

    def _weights(self) -> str:
        weights = [w.ravel() for w in self.model.get_weights() if w.dtype.kind == "f"]
        values = np.concatenate(weights)
        finite = values[np.isfinite(values)]
        largest = np.abs(finite).max() if finite.size else math.nan
        return (
            f"{values.size - finite.size} of its {values.size} weights are not finite, and the "
            f"largest of the others is {largest:.3g}"
        )

    def _checkpoint(self) -> str:
        kept = [c.latest for c in self.model.run.callbacks if isinstance(c, Checkpoint)]
        return f"The last checkpoint before it is {kept[0]}. " if any(kept) else ""
