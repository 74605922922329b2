"""What a policy is: whatever acts, be it for collecting, evaluating, filming or by hand."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from kerasrl.envs import Step


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
        state: nest of specs, whose leaves are those of `PolicyStep.state`; empty without one.
        info: dict of specs, those of `PolicyStep.info`.
    """

    output: Any = ()
    state: Any = ()
    info: Any = {}  # Never changed.


@runtime_checkable
class Policy(Protocol):
    """Acts in N environments.

    One of your own derives from it and defines `__call__`; the rest does nothing by default.
    """

    @property
    def spec(self) -> PolicySpec:
        """What it gives besides actions."""
        return PolicySpec()

    def __call__(self, observation: list[np.ndarray]) -> PolicyStep:
        """Chooses actions for a list of `[N, ...]` leaf arrays, and moves its state on."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(observation).")

    def output(self, observation: list[np.ndarray]) -> Any:
        """What `agent.policy` computes for observations that are not acted on.

        The state stays as it is.
        """
        return ()

    def reset(self, where: np.ndarray) -> None:
        """Puts the state back to its start where new episodes begin, a bool array `[N]`."""
        return None

    def update(self) -> None:
        """Takes over the newest weights."""
        return None

    def check_weights(self) -> None:
        """Raises `NonFiniteLoss` when it acts with weights that have become NaN."""
        return None

    def get_state(self) -> dict[str, Any]:
        """What it takes to go on, its weights aside: of random numbers, of what it remembers.

        A nest of plain values and arrays.
        """
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called."""
        return None


def begin_anew(policy: Policy, step: Step) -> None:
    """Resets a policy where the observation to act on next is the first one of an episode.

    Args:
        policy: the policy.
        step: the `Step` that was taken last.
    """
    begins = step.terminated | step.truncated | ~step.valid
    if np.count_nonzero(begins):
        policy.reset(begins)
