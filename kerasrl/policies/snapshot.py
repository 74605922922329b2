"""A compiled copy of a policy to act with, refreshed when it is told to.

Calling a Keras model on one observation takes half a millisecond, most of it overhead. The snapshot
converts the policy's graph to TensorFlow Lite with the network's weights as *inputs*, so that one
call takes some 20 microseconds and new weights need no new conversion.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.native_log import muted
from kerasrl.policies.float32_graph import as_float32, computing_in_float32
from kerasrl.warning import warn

_TOLERANCE = 1e-3


class PolicySnapshot:
    """Computes a policy's output with the weights it had at the last `update`.

    A policy that TensorFlow Lite cannot express acts through a `tf.function`, with a warning, and
    then always with its present weights.

    Args:
        policy: callable from a nest of batched observations to one tensor `[N, ...]`, such as
            `agent.policy` or the agent itself; it must not draw random numbers.
        observation_spec: nest of `tf.TensorSpec`, one observation without a batch dimension.
        num_envs: int, N, the fixed batch size.

    Attributes:
        output: `tf.TensorSpec` of what the policy computes, `[N, ...]`.
    """

    def __init__(self, policy: Callable[[Any], tf.Tensor], observation_spec: Any, num_envs: int):
        batched = tf.nest.map_structure(
            lambda spec: tf.TensorSpec((num_envs, *spec.shape), spec.dtype), observation_spec
        )
        graph = tf.function(policy).get_concrete_function(batched)
        (output,) = graph.outputs
        self.output = tf.TensorSpec(output.shape, output.dtype)
        self._compiled: _Lite | _Function
        try:
            self._compiled = _Lite(graph, tf.nest.flatten(batched))
        except Exception as error:  # The converter raises whatever it likes.
            warn(
                "this policy does not convert to TensorFlow Lite and acts through a tf.function, "
                f"which is slower: {str(error).strip().splitlines()[0]}"
            )
            self._compiled = _Function(graph)
        self.update()

    def update(self) -> None:
        """Takes over the policy's present weights."""
        self._compiled.update()

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        """Computes the policy's output.

        Args:
            observation: list of `[N, ...]` leaf arrays in `tf.nest` order.

        Returns:
            `[N, ...]` array.
        """
        return self._compiled(observation)


class _Function:
    """Acting through the traced graph; its variables are read at every call."""

    def __init__(self, graph: Any):
        self._graph = graph

    def update(self) -> None:
        """The graph reads the variables themselves."""

    def __call__(self, observation: list[np.ndarray]) -> np.ndarray:
        return self._graph(*[tf.constant(leaf) for leaf in observation]).numpy()


class _Lite:
    """Acting through TensorFlow Lite's interpreter."""

    def __init__(self, graph: Any, inputs: list[tf.TensorSpec]):
        reads = [op for op in graph.graph.get_operations() if op.type == "ReadVariableOp"]
        handles = {inner.op.name: outer for outer, inner in graph.graph.captures}
        self._weights = [(handles[op.inputs[0].op.name], op.outputs[0].dtype) for op in reads]
        function = _with_weights_as_inputs(graph, reads, inputs)
        with muted():
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
            self._interpreter = tf.lite.Interpreter(
                model_content=converter.convert(), num_threads=1
            )
            self._interpreter.allocate_tensors()
        indices = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._leaf_indices = indices[: len(inputs)]
        self._weight_indices = indices[len(inputs) :]
        (output,) = self._interpreter.get_output_details()
        self._output = output["index"]
        self._check(function, [*self._leaf_indices, *self._weight_indices])
        self.update()

    def update(self) -> None:
        for index, (handle, dtype) in zip(self._weight_indices, self._weights, strict=True):
            value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
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


def _random(source: tf.Tensor, rng: np.random.Generator) -> np.ndarray:
    dtype = source.dtype.as_numpy_dtype
    if source.dtype.is_floating:
        return rng.uniform(0.1, 1.0, source.shape).astype(dtype)
    return rng.integers(0, 2, source.shape).astype(dtype)


def _with_weights_as_inputs(graph: Any, reads: list, inputs: list[tf.TensorSpec]) -> Any:
    """Makes every variable that a concrete function reads an input after its own."""
    definition = graph.graph.as_graph_def()
    for node in definition.node:
        data_inputs = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data_inputs)
    computing_in_float32(definition)
    sources = [*graph.inputs[: len(inputs)], *[op.outputs[0] for op in reads]]

    def pure(*values: tf.Tensor) -> list:
        fed = [as_float32(value) for value in values]
        outputs = tf.graph_util.import_graph_def(
            definition,
            input_map={source.name: value for source, value in zip(sources, fed, strict=True)},
            return_elements=[output.name for output in graph.outputs],
        )
        return [tf.cast(one, was.dtype) for one, was in zip(outputs, graph.outputs, strict=True)]

    signature = [tf.TensorSpec(source.shape, source.dtype) for source in sources]
    return tf.compat.v1.wrap_function(pure, signature)
