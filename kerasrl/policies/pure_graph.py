"""The graph of a policy with its weights as inputs.

A traced policy holds its variables as resources, which it reads wherever it likes: at the top, in
the body of a loop, within a layer's own function, or by rows, as an embedding does. Here the graph
is written anew so that the value of a variable comes in from outside, as a tensor. A variable that
anything else is done to, such as assigning to it, is a state of the policy's and stays a variable.
"""

import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kerasrl.policies.float32_graph import as_float32, computing_in_float32
from kerasrl.policies.graph_identity import canonical
from kerasrl.policies.rewriting import (
    CALLS,
    READS,
    Rewriter,
    UsedOtherwiseError,
    Weight,
    called_by,
    first_input,
)
from kerasrl.private import keep_functions

# What operations do beside computing, the telling ones first.
_EFFECTS = {
    "Random|Multinomial|Rng": "draws random numbers",
    "Assign|Scatter": "changes a variable",
    "PyFunc": "calls Python",
    "Assert": "checks its numbers",
    "Lookup|Table": "looks something up in a table",
    "Print": "prints",
}


class PureGraph:
    """A policy's graph whose weights are inputs.

    Args:
        graph: `tf.types.experimental.ConcreteFunction` of the policy.
        num_inputs: int, how many tensors it takes.

    Attributes:
        weights: list of the handles of the variables that come in as tensors.
        inputs: list of `tf.TensorSpec`, the policy's own and then one for each weight.
        state: str or None, what the policy does beside computing, such as drawing random numbers,
            and where.
    """

    def __init__(self, graph: Any, num_inputs: int):
        self._graph = graph  # Keeps Python functions and tables alive.
        self._captures = {inner.op.name: outer for outer, inner in graph.graph.captures}
        definition = graph.graph.as_graph_def()
        candidates = {
            name: weight
            for number, (name, outer) in enumerate(self._captures.items())
            if (weight := _weight(number, name, outer, definition)) is not None
        }
        while True:
            rewriter = Rewriter(graph.graph.as_graph_def())
            try:
                self._definition = rewriter.rewritten(candidates)
                break
            except UsedOtherwiseError as error:
                candidates = {
                    name: weight for name, weight in candidates.items() if weight != error.weight
                }
        self._names = list(candidates)
        self.weights = [self._captures[name] for name in candidates]
        self._dtypes = [tf.as_dtype(weight.dtype) for weight in candidates.values()]
        own = graph.inputs[:num_inputs]
        self._sources = [source.name for source in own]
        self.inputs = [tf.TensorSpec(source.shape, source.dtype) for source in own]
        self.inputs += [tf.TensorSpec(w.shape, w.dtype) for w in candidates.values()]
        self.state = _state(self._definition)

    def values(self) -> list[tf.Tensor]:
        """The weights' present values, which stay as they are whatever becomes of the weights."""
        return [
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
            for handle, dtype in zip(self.weights, self._dtypes, strict=True)
        ]

    def same(self, other: "PureGraph") -> bool:
        """Whether another graph computes the same, of the very same variables and constants."""
        ours, theirs = list(self._captures.values()), list(other._captures.values())
        if len(ours) != len(theirs) or any(a is not b for a, b in zip(ours, theirs, strict=True)):
            return False
        return self._canonical() == other._canonical()

    def _canonical(self) -> bytes:
        return canonical(self._definition, list(self._captures))

    def make_callable(self) -> Any:
        """Makes a `tf.types.experimental.ConcreteFunction` of `call`, on `inputs`."""
        keep_functions(self, self._definition)
        return tf.function(self.call).get_concrete_function(*self.inputs)

    def call(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        """Computes the policy's output; to be traced by `make_callable`."""
        return self._imported(self._definition, self._mapped(inputs))

    def call_in_float32(self, *inputs: tf.Tensor) -> list[tf.Tensor]:
        """Computes it in no order and in float32, for TensorFlow Lite, where there is no state.

        Inputs and outputs have the dtypes that they have in `call`.
        """
        definition = computing_in_float32(_without_order(self._definition))
        mapped = {name: as_float32(value) for name, value in self._mapped(inputs).items()}
        outputs = self._imported(definition, mapped)
        return [
            tf.cast(output, own.dtype)
            for output, own in zip(outputs, self._graph.outputs, strict=True)
        ]

    def _mapped(self, inputs: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        names = [*self._sources, *[f"{name}:0" for name in self._names]]
        mapped = dict(zip(names, inputs, strict=True))
        for name, outer in self._captures.items():
            if name not in self._names:
                mapped[f"{name}:0"] = _constant(outer)
        return mapped

    def _imported(self, definition: Any, mapped: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        elements = [output.name for output in self._graph.outputs]
        return tf.graph_util.import_graph_def(
            definition, input_map=mapped, return_elements=elements
        )


def _without_order(definition: Any) -> Any:
    """A copy that leaves out what makes one operation wait for another."""
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(definition)
    for node in copy.node:
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)
    return copy


def _weight(number: int, name: str, outer: Any, definition: Any) -> Weight | None:
    """What a captured tensor stands for; None if it is no variable that is read."""
    if outer.dtype != tf.resource:
        return None
    functions = {f.signature.name: f for f in definition.library.function}
    dtype = _dtype_read(definition.node, name, functions)
    if dtype is None:
        return None
    return Weight(number, dtype, tf.raw_ops.ReadVariableOp(resource=outer, dtype=dtype).shape)


def _dtype_read(nodes: Any, handle: str, functions: dict[str, Any]) -> int | None:
    """The dtype of the variable behind a handle, by the first operation that reads it."""
    known = {handle}
    for node in nodes:
        for i, ref in enumerate(node.input):
            if ref.removesuffix(":0") not in known:
                continue
            if node.op == "Identity":
                known |= {node.name, f"{node.name}:output"}
            elif node.op in READS and node.attr["dtype"].type:
                return node.attr["dtype"].type
            elif node.op in CALLS:
                for name in called_by(node):
                    argument = functions[name].signature.input_arg[i - first_input(node)]
                    dtype = _dtype_read(functions[name].node_def, argument.name, functions)
                    if dtype is not None:
                        return dtype
    return None


def _constant(outer: tf.Tensor) -> tf.Tensor:
    """A captured tensor within the graph that is being traced."""
    if outer.dtype in (tf.resource, tf.variant):
        return tf.identity(outer)
    return tf.constant(outer.numpy())


def _state(definition: Any) -> str | None:
    """What is to happen in its turn at every call, as a sentence; None for nothing."""
    nodes = list(_reachable(definition))
    stateful = _stateful({node.op for node in nodes}) - {*CALLS}
    found = [node for node in nodes if node.op in stateful]
    if not found:
        return None
    kinds = [kind for kind in _EFFECTS if any(re.search(kind, node.op) for node in found)]
    kind = kinds[0] if kinds else ""
    node = next(node for node in found if re.search(kind, node.op))
    return f"it {_EFFECTS.get(kind, 'does more than compute')}, in {node.name} ({node.op})"


def _stateful(types: set[str]) -> set[str]:
    """Which types of operations do more than compute; in TensorFlow's public API a file says it."""
    listed = tf.compat.v1.GraphDef(node=[tf.compat.v1.NodeDef(op=op, name=op) for op in types])
    with tf.Graph().as_default() as graph:
        meta = tf.compat.v1.train.export_meta_graph(graph_def=listed, graph=graph)
    return {op.name for op in meta.meta_info_def.stripped_op_list.op if op.is_stateful}


def _reachable(definition: Any) -> Iterator[Any]:
    """The nodes of a graph, and of the functions that they call."""
    functions = {f.signature.name: f for f in definition.library.function}
    seen: set[str] = set()
    waiting = [definition.node]
    while waiting:
        for node in waiting.pop():
            yield node
            called = {name for name in called_by(node) if name in functions} - seen
            seen |= called
            waiting.extend(functions[name].node_def for name in called)
