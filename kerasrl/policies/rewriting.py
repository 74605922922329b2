"""Rewriting a graph so that variables which it only reads come in as tensors.

What a node takes is called `node` or `node:1` in a graph, and `node:output:1`, or by the name of an
argument, in a function.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

CALLS = {
    "PartitionedCall": "Tin",
    "StatefulPartitionedCall": "Tin",
    "If": "Tin",
    "StatelessIf": "Tin",
    "Case": "Tin",
    "StatelessCase": "Tin",
    "While": "T",
    "StatelessWhile": "T",
}
_WITH_ONE_MORE_INPUT = {"If", "StatelessIf", "Case", "StatelessCase"}  # The branch to take.
_LOOPS = {"While", "StatelessWhile"}
READS = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "Identity"}


class Weight(NamedTuple):
    """What stands in the place of a variable's handle."""

    number: int
    dtype: int
    shape: tf.TensorShape


class UsedOtherwiseError(Exception):
    """A variable is not only read."""

    def __init__(self, weight: Weight):
        super().__init__()
        self.weight = weight


class Rewriter:
    """Rewrites a `GraphDef` and the functions in it."""

    def __init__(self, definition: Any):
        self._definition = definition
        self._functions = {f.signature.name: f for f in definition.library.function}
        self._made: dict[tuple, tuple[str, dict[int, Weight]]] = {}

    def rewritten(self, weights: dict[str, Weight]) -> Any:
        """The definition with tensors in the place of the named placeholders of handles."""
        self._rewrite(self._definition.node, dict(weights), in_function=False)
        return self._definition

    def _rewrite(self, nodes: Any, known: dict[str, Weight], in_function: bool) -> dict[str, str]:
        """Has nodes take tensors in the place of handles; returns new names of outputs."""
        self._walk_new_handles(nodes, known, in_function)
        renamed: dict[str, str] = {}
        added = []
        for node in list(nodes):
            found = {i: known[ref] for i, ref in _handles(node, known)}
            if not found:
                continue
            if node.op in CALLS:
                self._call(node, found)
            else:
                added += _as_tensor_op(node, found[0], in_function)
                if in_function:
                    renamed[f"{node.name}:value:0"] = f"{node.name}:output:0"
        nodes.extend(added)
        for node in nodes:
            for i, ref in enumerate(node.input):
                node.input[i] = renamed.get(ref, ref)
        return renamed

    def _walk_new_handles(self, nodes: Any, known: dict[str, Weight], in_function: bool) -> None:
        """Adds what comes out of identities and calls that hand a handle on."""
        before = -1
        while len(known) > before:
            before = len(known)
            for node in nodes:
                for i, ref in _handles(node, known):
                    weight = known[ref]
                    if node.op not in READS and node.op not in CALLS:
                        raise UsedOtherwiseError(weight)
                    if node.op == "Identity":
                        known[_ref(node.name, 0, in_function)] = weight
                    elif node.op in _LOOPS:
                        known[_ref(node.name, i, in_function)] = weight
                if node.op in CALLS and node.op not in _LOOPS:
                    for i, weight in self._handed_on(node, known).items():
                        known[_ref(node.name, i, in_function)] = weight

    def _handed_on(self, node: Any, known: dict[str, Weight]) -> dict[int, Weight]:
        found = {i: known[ref] for i, ref in _handles(node, known)}
        if not found:
            return {}
        first = first_input(node)
        inner = {i - first: weight for i, weight in found.items()}
        outputs = [self._function(name, inner)[1] for name in called_by(node)]
        if any(other != outputs[0] for other in outputs):
            raise UsedOtherwiseError(next(iter(found.values())))
        return outputs[0]

    def _call(self, node: Any, found: dict[int, Weight]) -> None:
        """Has a call, a loop or a branch hand on tensors."""
        first = first_input(node)
        inner = {i - first: weight for i, weight in found.items()}
        types = node.attr[CALLS[node.op]].list.type
        for i, weight in inner.items():
            types[i] = weight.dtype
            if node.op in _LOOPS and len(node.attr["output_shapes"].list.shape):
                shape = node.attr["output_shapes"].list.shape[i]
                shape.CopyFrom(weight.shape.as_proto())
        node.attr.pop("_output_shapes", None)
        for attribute in node.attr.values():
            functions = [attribute.func] if attribute.HasField("func") else attribute.list.func
            for function in functions:
                function.name, outputs = self._function(function.name, inner)
                if node.op not in _LOOPS:
                    for i, weight in outputs.items():
                        node.attr["Tout"].list.type[i] = weight.dtype
                elif function.name == node.attr["body"].func.name and outputs != inner:
                    raise UsedOtherwiseError(next(iter(inner.values())))

    def _function(self, name: str, arguments: dict[int, Weight]) -> tuple[str, dict[int, Weight]]:
        """Makes a function that takes tensors; returns its name and the outputs that are handles.

        One and the same function may be called on several variables.
        """
        key = (name, tuple(sorted((i, weight.number) for i, weight in arguments.items())))
        if key not in self._made:
            function = self._definition.library.function.add()
            function.CopyFrom(self._functions[name])
            function.signature.name = f"{name}_of_tensors_{len(self._made)}"
            signature, known = function.signature, {}
            for i, weight in arguments.items():
                argument = signature.input_arg[i]
                argument.type = weight.dtype
                argument.ClearField("handle_data")
                function.arg_attr.pop(i, None)
                function.resource_arg_unique_id.pop(i, None)
                known[argument.name] = weight
            renamed = self._rewrite(function.node_def, known, in_function=True)
            outputs = {}
            for i, output in enumerate(signature.output_arg):
                ref = function.ret[output.name]
                if ref in known:
                    output.type, outputs[i] = known[ref].dtype, known[ref]
                    output.ClearField("handle_data")
                function.ret[output.name] = renamed.get(ref, ref)
            self._made[key] = (signature.name, outputs)
        return self._made[key]


def _handles(node: Any, known: dict[str, Weight]) -> Iterator[tuple[int, str]]:
    """Which inputs of a node are handles, by what is known."""
    for i, ref in enumerate(node.input):
        if ref in known:
            yield i, ref
        elif ref.endswith(":0") and ref[:-2] in known:
            yield i, ref[:-2]


def first_input(node: Any) -> int:
    """Which input of a call is the function's first argument."""
    return int(node.op in _WITH_ONE_MORE_INPUT)


def _ref(name: str, output: int, in_function: bool) -> str:
    """How other nodes call a node's output, in a function or at the top."""
    if in_function:
        return f"{name}:output:{output}"
    return f"{name}:{output}" if output else name


def called_by(node: Any) -> Iterator[str]:
    """The names of the functions that a node calls."""
    for attribute in node.attr.values():
        if attribute.HasField("func"):
            yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _as_tensor_op(node: Any, weight: Weight, in_function: bool) -> list:
    """Turns what reads a variable into what does the same with a tensor; returns new nodes."""
    replacement, attributes, added = tf.compat.v1.NodeDef(), dict(node.attr), []
    replacement.name, replacement.device = node.name, node.device
    replacement.input.extend(node.input)
    controls = [ref for ref in node.input if ref.startswith("^")]
    kept: tuple[str, ...] = ()
    if node.op in ("ReadVariableOp", "Identity"):
        replacement.op, type_name = "Identity", "T"
    elif node.op == "VariableShape":
        replacement.op, type_name = "Shape", "T"
        kept = ("out_type",)
    elif node.op == "ResourceGatherNd":
        replacement.op, type_name = "GatherNd", "Tparams"
        kept = ("Tindices",)
    else:
        replacement.op, type_name = "GatherV2", "Tparams"
        kept = ("Tindices", "batch_dims")
        axis = _integer(f"{node.name}/of_tensor/axis", attributes.get("batch_dims"))
        added.append(axis)
        del replacement.input[:]
        replacement.input.extend([*node.input[:2], _ref(axis.name, 0, in_function), *controls])
        replacement.attr["Taxis"].type = tf.int32.as_datatype_enum
    replacement.attr[type_name].type = weight.dtype
    for name in kept:
        if name in attributes:
            replacement.attr[name].CopyFrom(attributes[name])
    node.CopyFrom(replacement)
    return added


def _integer(name: str, attribute: Any) -> Any:
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    value = 0 if attribute is None else attribute.i
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.int32))
    return node
