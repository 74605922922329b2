"""The graph of a policy, made ready to be acted with.

Calling a Keras model on one observation takes half a millisecond, most of it overhead. The
policy's graph is converted to TensorFlow Lite with the network's weights as *inputs*, so that one
call takes some 20 microseconds and new weights need no new conversion.
"""

import contextlib
import re
import sys
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerasrl.compatibility import interpreter
from kerasrl.errors import NetworkError
from kerasrl.native_log import muted
from kerasrl.policies.outputs import Outputs
from kerasrl.policies.pure_graph import PureGraph
from kerasrl.warning import warn

_TOLERANCE = 1e-3


class Program(Protocol):
    """Computes, with weights of its own."""

    def set_weights(self, values: list[np.ndarray]) -> None:
        """Takes over weights, in the order of `PureGraph.weights`."""

    def weights(self) -> list[np.ndarray]:
        """The weights that it computes with."""

    def __call__(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Computes the one tensor `[N, ...]` for leaf arrays `[N, ...]`."""


class Conversion:
    """A policy's graph for N environments, and what TensorFlow Lite makes of it.

    Args:
        policy: as for `PolicySnapshot`.
        observation_spec: nest of `tf.TensorSpec`, one observation.
        num_envs: int, N.
        state_spec: nest of `tf.TensorSpec`, the recurrent state of one environment; None without
            one.

    Attributes:
        graph: `PureGraph`.
        variables: tuple of the variables that the policy reads.
        outputs: `Outputs`, of what the policy computes: of a pair with the next state where there
            is one.
    """

    outputs: Outputs

    def __init__(
        self, policy: Callable[..., Any], observation_spec: Any, num_envs: int, state_spec: Any
    ):
        def compute(*inputs: Any) -> tf.Tensor:
            computed = tf.nest.map_structure(_as_tensor, policy(*inputs))
            if state_spec is not None:
                _check_state(computed, inputs[1])
            self.outputs = Outputs(computed, num_envs)
            return self.outputs.pack(computed)

        nests = (observation_spec,) if state_spec is None else (observation_spec, state_spec)
        batched = tf.nest.map_structure(
            lambda spec: tf.TensorSpec((num_envs, *spec.shape), spec.dtype), nests
        )
        traced = tf.function(compute).get_concrete_function(*batched)
        self.graph = PureGraph(traced, len(tf.nest.flatten(batched)))
        self.variables = traced.variables
        self._model: bytes | None = None
        self._compiled = False

    def same(self, other: "Conversion") -> bool:
        """Whether another computes the same, with the same variables."""
        return self.outputs.spec == other.outputs.spec and self.graph.same(other.graph)

    def program(self) -> Program:
        """Makes one, converting the graph if this is the first."""
        if not self._compiled:
            self._model = self._converted()
            self._compiled = True
        if self._model is None:
            return _Function(self.graph)
        with muted():
            return _Lite(self._model, len(self.graph.weights))

    def _converted(self) -> bytes | None:
        reason = self.graph.state
        if reason is None:
            try:
                return self._to_lite()
            except Exception as error:  # The converter raises whatever it likes.
                reason = _reason(error)
        warn(
            "this policy does not convert to TensorFlow Lite and acts through a tf.function, which "
            f"is slower: {reason}"
        )
        return None

    def _to_lite(self) -> bytes:
        function = tf.compat.v1.wrap_function(self.graph.call_in_float32, self.graph.inputs)
        # Of what Python writes, too: the converter's hints are many, and in vain.
        with muted(), contextlib.redirect_stderr(sys.__stderr__ or sys.stderr):
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], function)
            model = converter.convert()
            self._check(model, function)
        return model

    def _check(self, model: bytes, function: Any) -> None:
        count = len(self.graph.weights)
        program = _Lite(model, count)
        rng = np.random.default_rng(0)  # Other values everywhere, so that a mix-up would show.
        values = [_random(source, rng) for source in function.inputs]
        own = len(values) - count
        program.set_weights(values[own:])
        (expected,) = function(*[tf.constant(value) for value in values])
        both = (self.outputs.unpack(program(values[:own])), self.outputs.unpack(expected.numpy()))
        for received, wanted in zip(*map(tf.nest.flatten, both), strict=True):
            if not np.allclose(received, wanted, _TOLERANCE, _TOLERANCE, equal_nan=True):
                raise ValueError("the converted policy computes other numbers")


class Conversions:
    """The newest conversion of each kind, for whoever acts with the same networks."""

    def __init__(self) -> None:
        self._kept: dict[Any, Conversion] = {}

    def newest(self, key: Any, made: Conversion) -> Conversion:
        """The one that is kept under a key if it is the same as `made`; else that is kept now.

        What a policy computes may change with any attribute of any layer, so that it is traced
        anew and compared; only the conversion, which takes ten times as long, is saved.
        """
        kept = self._kept.get(key)
        if kept is None or not kept.same(made):
            kept = self._kept[key] = made
        return kept


class _Function:
    """Acting through TensorFlow; what the policy changes itself is not copied."""

    def __init__(self, graph: PureGraph):
        self._graph = graph  # Keeps the functions that it calls.
        self._call = graph.make_callable()
        self._weights: list[tf.Tensor] = []

    def set_weights(self, values: list[np.ndarray]) -> None:
        self._weights = [tf.constant(value) for value in values]

    def weights(self) -> list[np.ndarray]:
        return [value.numpy() for value in self._weights]

    def __call__(self, inputs: list[np.ndarray]) -> np.ndarray:
        (output,) = self._call(*[tf.constant(leaf) for leaf in inputs], *self._weights)
        return output.numpy()


class _Lite:
    """Acting through TensorFlow Lite's interpreter."""

    def __init__(self, model: bytes, num_weights: int):
        self._interpreter = interpreter(model_content=model, num_threads=1)
        self._interpreter.allocate_tensors()
        indices = [detail["index"] for detail in self._interpreter.get_input_details()]
        self._leaf_indices = indices[: -num_weights or None]
        self._weight_indices = indices[len(self._leaf_indices) :]
        (output,) = self._interpreter.get_output_details()
        self._output = output["index"]

    def set_weights(self, values: list[np.ndarray]) -> None:
        for index, value in zip(self._weight_indices, values, strict=True):
            self._interpreter.set_tensor(index, value)

    def weights(self) -> list[np.ndarray]:
        return [self._interpreter.get_tensor(index) for index in self._weight_indices]

    def __call__(self, inputs: list[np.ndarray]) -> np.ndarray:
        for index, leaf in zip(self._leaf_indices, inputs, strict=True):
            self._interpreter.set_tensor(index, leaf)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _as_tensor(value: Any) -> tf.Tensor:
    if value is None:
        raise NetworkError("a policy must compute a tensor or a nest of tensors; received None.")
    return tf.convert_to_tensor(value)


def _check_state(computed: Any, state: Any) -> None:
    """Raises `NetworkError` unless a recurrent policy hands on the state that it takes."""
    rule = (
        "a policy with a recurrent state must return a pair: what it computes, and the next state"
    )
    if not isinstance(computed, tuple) or len(computed) != 2:
        raise NetworkError(f"{rule}; received {computed!r}.")
    described = [
        [(leaf.dtype.name, leaf.shape.as_list()) for leaf in tf.nest.flatten(nest)]
        for nest in (state, computed[1])
    ]
    if described[0] != described[1]:
        raise NetworkError(
            f"{rule}, with the leaves of initial_state(), {described[0]}; received {described[1]}."
        )


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
