"""What a policy is: whatever acts, be it for collecting, evaluating, filming or by hand."""

from typing import Any, NamedTuple, Protocol

import numpy as np


class PolicyStep(NamedTuple):
    """What a policy did in N environments at once.

    Args:
        action: `[N, ...]` array in the environment's units.
        output: nest of `[N, ...]` arrays, what `agent.policy` computed to choose it; () of a policy
            that has no such thing.
        state: list of `[N, ...]` leaf arrays, the recurrent state that was acted *from*; empty
            without one.
        info: dict of `[N, ...]` arrays that are stored beside the action, each under its name.
    """

    action: np.ndarray
    output: Any = ()
    state: Any = ()
    info: Any = {}  # Never changed.


class PolicySpec(NamedTuple):
    """What a policy gives besides actions, as nests of `tf.TensorSpec` without a batch dimension.

    Args:
        output: nest, that of `PolicyStep.output`; () without one.
        state: list of specs, those of `PolicyStep.state`.
        info: dict of specs, those of `PolicyStep.info`.
    """

    output: Any = ()
    state: Any = ()
    info: Any = {}  # Never changed.


class Policy(Protocol):
    """Acts in N environments."""

    @property
    def spec(self) -> PolicySpec:
        """What it gives besides actions."""

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Chooses actions for a list of `[N, ...]` leaf arrays, and moves its state on."""

    def output(self, observation: list[np.ndarray]) -> Any:
        """What `agent.policy` computes for observations that are not acted on.

        The state stays as it is.
        """

    def reset(self, where: np.ndarray) -> None:
        """Puts the state back to its start where new episodes begin, a bool array `[N]`."""

    def update(self) -> None:
        """Takes over the newest weights."""
