"""A compiled copy of a policy to act with, refreshed when it is told to.

Calling a Keras model on one observation takes half a millisecond, most of it overhead. The snapshot
converts the policy's graph to TensorFlow Lite with the network's weights as *inputs*, so that one
call takes some 20 microseconds and new weights need no new conversion.
"""

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import NonFiniteLoss
from kerasrl.native_log import muted
from kerasrl.policies.pure_graph import PureGraph
from kerasrl.warning import warn

_TOLERANCE = 1e-3


class PolicySnapshot:
    """Computes a policy's output with the weights it had at the last `update`.

    A policy that TensorFlow Lite cannot express acts through a `tf.function`, with a warning that
    says why. So does one that draws random numbers, calls Python, or has a state, such as that of a
    stateful recurrent layer: what the policy assigns to goes on from call to call, and is no copy.

    Args:
        policy: callable from a nest of batched observations to one tensor `[N, ...]`, such as
            `agent.policy` or the agent itself.
        observation_spec: nest of `tf.TensorSpec`, one observation without a batch dimension.
        num_envs: int, N, the fixed batch size.

    Attributes:
        output: `tf.TensorSpec` of what the policy computes, `[N, ...]`.
    """

    def __init__(self, policy: Callable[[Any], tf.Tensor], observation_spec: Any, num_envs: int):
        batched = tf.nest.map_structure(
            lambda spec: tf.TensorSpec((num_envs, *spec.shape), spec.dtype), observation_spec
        )
        traced = tf.function(policy).get_concrete_function(batched)
        self._graph = PureGraph(traced, len(tf.nest.flatten(batched)))
        self._variables = traced.variables
        output = traced.outputs[0]
        self.output = tf.TensorSpec(output.shape, output.dtype)
        self._compiled: _Lite | _Function = self._compile()
        self.update()

    def update(self) -> None:
        """Takes over the policy's present weights."""
        self._compiled.set_weights(self._graph.values())

    def check_weights(self) -> None:
        """Looks for weights that have become NaN.

        TensorFlow Lite makes numbers of some NaNs, so that the actions need not show it.

        Raises:
            NonFiniteLoss: when there are any.
        """
        floats = [v for v in self._variables if v.dtype.is_floating]
        weights = [np.asarray(v.numpy(), np.float32) for v in floats]
        count = sum(np.count_nonzero(np.isnan(array)) for array in weights)
        if count:
            raise NonFiniteLoss(
                f"{count} of the {sum(array.size for array in weights)} weights that this policy "
                "acts with are NaN, so that its actions mean nothing. Go back to an earlier "
                "checkpoint; try a smaller learning rate, an optimizer with clipnorm, or "
                "reward_scale."
            )

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        """Computes the policy's output.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.

        Returns:
            `[N, ...]` array.
        """
        return self._compiled(observation)

    def _compile(self) -> "_Lite | _Function":
        graph = self._graph
        if graph.state is not None:
            reason = graph.state
        else:
            try:
                return _Lite(graph)
            except Exception as error:  # The converter raises whatever it likes.
                reason = _reason(error)
        warn(
            "this policy does not convert to TensorFlow Lite and acts through a tf.function, which "
            f"is slower: {reason}"
        )
        return _Function(graph)


class _Function:
    """Acting through TensorFlow; what the policy changes itself is not copied."""

    def __init__(self, graph: PureGraph):
        self._call = tf.function(graph.call).get_concrete_function(*graph.inputs)
        self._weights: list[tf.Tensor] = []

    def set_weights(self, values: list[tf.Tensor]) -> None:
        self._weights = values

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        (output,) = self._call(*[tf.constant(leaf) for leaf in observation], *self._weights)
        return output.numpy()


class _Lite:
    """Acting through TensorFlow Lite's interpreter."""

    def __init__(self, graph: PureGraph):
        function = tf.compat.v1.wrap_function(graph.call_in_float32, graph.inputs)
        # Of what Python writes, too: the converter's hints are many, and in vain.
        with muted(), contextlib.redirect_stderr(sys.__stderr__ or sys.stderr):
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
            self._interpreter = tf.lite.Interpreter(
                model_content=converter.convert(), num_threads=1
            )
            self._interpreter.allocate_tensors()
        indices = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._leaf_indices = indices[: -len(graph.weights) or None]
        self._weight_indices = indices[len(self._leaf_indices) :]
        (output,) = self._interpreter.get_output_details()
        self._output = output["index"]
        self._check(function, indices)

    def set_weights(self, values: list[tf.Tensor]) -> None:
        for index, value in zip(self._weight_indices, values, strict=True):
            self._interpreter.set_tensor(index, value.numpy())

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        for index, leaf in zip(self._leaf_indices, observation, strict=True):
            self._interpreter.set_tensor(index, leaf)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def _check(self, function: Any, indices: list[int]) -> None:
        rng = np.random.default_rng(0)  # Other values everywhere, so that a mix-up would show.
        values = [_random(source, rng) for source in function.inputs]
        for index, value in zip(indices, values, strict=True):
            self._interpreter.set_tensor(index, value)
        self._interpreter.invoke()
        received = self._interpreter.get_tensor(self._output)
        (expected,) = function(*[tf.constant(value) for value in values])
        if not np.allclose(received, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise ValueError("the converted policy computes other numbers")


def _reason(error: Exception) -> str:
    """What of a policy does not convert: the operations that are missing, and where they are."""
    text = str(error).strip()
    missing = dict.fromkeys(re.findall(r"'tf\.(\w+)' op", text))
    places = dict.fromkeys(re.findall(r'"\w+:", "([^"@]+?)(?:@[^"]*)?"', text))
    if not missing:
        return text.splitlines()[0] if text else type(error).__name__
    where = f", in {', '.join(list(places)[:3])}" if places else ""
    return f"TensorFlow Lite has no {', '.join(list(missing)[:3])}{where}"


def _random(source: tf.Tensor, rng: np.random.Generator) -> np.ndarray:
    dtype = source.dtype.as_numpy_dtype
    if source.dtype.is_floating:
        return rng.uniform(0.1, 1.0, source.shape).astype(dtype)
    return rng.integers(0, 2, source.shape).astype(dtype)
