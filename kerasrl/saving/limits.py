"""Keeping a file from having more memory allocated than it can fill."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasrl.errors import LoadError, UnsafeFileError

_SLACK = 2**20  # bytes, for counters that are not saved
_SLACK_COUNT = 1000
_LARGEST_TENSOR = 2**28  # bytes, for one observation
_LARGEST_GRAPH = 2**31  # bytes, of all tensors of a network together


@contextlib.contextmanager
def bounded_variables(nbytes: int, count: int) -> Iterator[None]:
    """Counts the variables that are made, and refuses one before it is.

    Args:
        nbytes: int, what the file has for variables.
        count: int, how many arrays it has.

    Raises:
        UnsafeFileError: when more than about twice as much is asked for.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    most_bytes = replicas * (2 * nbytes + _SLACK)
    most = replicas * (2 * count + _SLACK_COUNT)
    made = made_bytes = 0
    refusal = None

    def make(next_creator: Any, **arguments: Any) -> tf.Variable:
        nonlocal made, made_bytes, refusal
        made, made_bytes = made + 1, made_bytes + _size(arguments)
        if made > most or made_bytes > most_bytes:
            refusal = UnsafeFileError(
                f"its config asks for {made} variables of {made_bytes} bytes, while the file has "
                f"{count} of {nbytes}. Its layers are not those that were saved."
            )
            raise refusal
        return next_creator(**arguments)

    try:
        with tf.variable_creator_scope(make):
            yield
    except Exception as error:
        if refusal is None:
            raise
        raise refusal from error  # Keras makes another error of it, and a long one.


def check_tensors(agent: keras.Model, shapes: list[tuple[int, ...]]) -> None:
    """Traces an agent's networks, and refuses them if they would make huge tensors.

    Layers without weights can be asked for anything, such as repeating what goes in a billion
    times; tracing allocates none of it.

    Args:
        agent: agent that has its networks and is not built.
        shapes: list of shapes that observations have, for inputs of unknown size.

    Raises:
        LoadError: when a network cannot be called.
        UnsafeFileError: when for one observation a tensor in it has more than 256 MiB, or all
            have more than 2 GiB.
    """
    ours = type(agent).__module__.startswith("kerasrl.")
    for network in agent.layers:
        if getattr(network, "inputs", None) is not None:
            _check_network(network, shapes)
        elif ours and (not isinstance(network, keras.Model) or type(network) is keras.Sequential):
            raise UnsafeFileError(f"its network {network.name} is no model that has been called.")


def _size(arguments: dict[str, Any]) -> int:
    initial = arguments.get("initial_value")
    shape = arguments.get("shape")
    shape = getattr(initial, "shape", None) if shape is None else shape
    shape = tf.TensorShape(() if shape is None else shape)
    if not shape.is_fully_defined():
        return 0
    dtype = arguments.get("dtype") or getattr(initial, "dtype", None) or tf.float32
    return shape.num_elements() * tf.as_dtype(dtype).size


def _check_network(network: keras.Model, shapes: list[tuple[int, ...]]) -> None:
    specs = tf.nest.map_structure(lambda tensor: _spec(tensor, shapes), network.input)
    flat = tf.nest.flatten(specs)

    def call(*tensors: tf.Tensor) -> Any:
        return network(tf.nest.pack_sequence_as(specs, tensors), training=False)

    graph = tf.function(call).get_concrete_function(*flat).graph
    definition = graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    sizes = [size for node in nodes if node.op != "ReadVariableOp" for size in _sizes(node)]
    if max(sizes, default=0) > _LARGEST_TENSOR or sum(sizes) > _LARGEST_GRAPH:
        raise UnsafeFileError(
            f"its network {network.name} makes tensors of {sum(sizes)} bytes for one observation, "
            f"one of {max(sizes)}, and could exhaust memory."
        )


def _sizes(node: Any) -> Iterator[int]:
    """The bytes of what comes out of a graph's node, where that is known."""
    for shape in node.attr["_output_shapes"].list.shape:
        lengths = [dim.size for dim in shape.dim]
        yield 4 * math.prod(lengths) if min(lengths, default=0) >= 0 else 0


def _spec(tensor: Any, shapes: list[tuple[int, ...]]) -> tf.TensorSpec:
    """The spec of one example; what is unknown of it is taken from the largest that it fits."""
    if tensor.shape.rank is None:
        raise LoadError("it has a network whose input has no known rank.")
    batch, example = tensor.shape[0], tensor.shape[1:]
    fitting = [shape for shape in shapes if example.is_compatible_with(shape)]
    if not example.is_fully_defined() and fitting:
        example = max(fitting, key=math.prod)
    return tf.TensorSpec([batch or 1, *example], tensor.dtype)
