"""A compiled copy of a policy to act with, refreshed when it is told to."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError, NonFiniteLoss
from kerasrl.policies.conversion import Conversion, Conversions


class PolicySnapshot:
    """Computes a policy's output with the weights it had at the last `update`.

    A policy that TensorFlow Lite cannot express acts through a `tf.function`, with a warning that
    says why. So does one that draws random numbers, calls Python, or has a state, such as that of a
    stateful recurrent layer: what the policy assigns to goes on from call to call, and is no copy.

    Args:
        policy: callable from a nest of batched observations to a tensor `[N, ...]` or a nest of
            them, such as `agent.policy` or the agent itself. With a recurrent state, from
            observations and a state to a pair of that and the next state.
        observation_spec: nest of `tf.TensorSpec`, one observation without a batch dimension.
        num_envs: int, N, the fixed batch size.
        state_spec: nest of `tf.TensorSpec`, the recurrent state without a batch dimension; None
            without one.
        conversions: `Conversions` to take a conversion of the same policy from; None converts it
            anew.

    Raises:
        NetworkError: when the policy computes something else.

    Attributes:
        output: nest of `tf.TensorSpec` of what the policy computes, `[N, ...]`.
        version: int, which weights it has: the number of `update`s, or what `set_weights` was told.
    """

    def __init__(
        self,
        policy: Callable[..., Any],
        observation_spec: Any,
        num_envs: int,
        state_spec: Any = None,
        conversions: Conversions | None = None,
    ):
        conversion = Conversion(policy, observation_spec, num_envs, state_spec)
        if conversions is not None:
            conversion = conversions.newest((policy, num_envs), conversion)
        self._conversion, self._recurrent = conversion, state_spec is not None
        outputs = conversion.outputs
        self.output = outputs.spec[0] if self._recurrent else outputs.spec
        self._is_tensor = isinstance(outputs.spec, tf.TensorSpec)
        self._program = conversion.program()
        self.version = 0
        self.update()

    def update(self) -> None:
        """Takes over the policy's present weights."""
        self._program.set_weights([value.numpy() for value in self._conversion.graph.values()])
        self.version += 1

    def weights(self) -> tuple[int, list[np.ndarray]]:
        """The weights that it has, for another snapshot of the same policy, and their version."""
        return self.version, self._program.weights()

    def set_weights(self, version: int, arrays: Sequence[np.ndarray]) -> None:
        """Takes over what `weights` gave, perhaps in another process.

        Raises:
            ArgumentError: when they are those of another policy.
        """
        expected = [(x.shape, x.dtype) for x in self._program.weights()]
        if [(np.shape(x), np.asarray(x).dtype) for x in arrays] != expected:
            raise ArgumentError(
                f"weights must be those of this policy, {len(expected)} arrays of its shapes and "
                f"dtypes; received {len(arrays)}. Take them from a policy of the same agent."
            )
        self._program.set_weights(list(arrays))
        self.version = version

    def check_weights(self) -> None:
        """Looks for weights that have become NaN.

        TensorFlow Lite makes numbers of some NaNs, so that the actions need not show it.

        Raises:
            NonFiniteLoss: when there are any.
        """
        floats = [v for v in self._conversion.variables if v.dtype.is_floating]
        weights = [np.asarray(v.numpy(), np.float32) for v in floats]
        count = sum(np.count_nonzero(np.isnan(array)) for array in weights)
        if count:
            raise NonFiniteLoss(
                f"{count} of the {sum(array.size for array in weights)} weights that this policy "
                "acts with are NaN, so that its actions mean nothing. Go back to an earlier "
                "checkpoint; try a smaller learning rate, an optimizer with clipnorm, or "
                "reward_scale."
            )

    def __call__(self, observation: list[np.ndarray], state: Sequence[np.ndarray] = ()) -> Any:
        """Computes the policy's output.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.
            state: list of `[N, ...]` leaf arrays in `tf.nest` order, the recurrent state.

        Returns:
            `[N, ...]` array or a nest of them; with a state, a pair of that and the list of the
            next state's leaf arrays.
        """
        if self._is_tensor:
            return self._program(observation)
        computed = self._conversion.outputs.unpack(self._program([*observation, *state]))
        return (computed[0], tf.nest.flatten(computed[1])) if self._recurrent else computed
