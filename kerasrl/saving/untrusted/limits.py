"""Keeping a file from having more memory allocated than it can fill."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import KERAS_3
from kerasrl.errors import UnsafeFileError
from kerasrl.private import forget_unmade_variables
from kerasrl.saving.saved import Saved

_SLACK = 2**20  # bytes, for counters that are not saved
_SLACK_COUNT = 1000
_LARGEST_TENSOR = 2**28  # bytes, for one observation
_LARGEST_GRAPH = 2**31  # bytes, of all tensors of a network together
_LONGEST_SEQUENCE = 4096  # steps of a recurrent layer
_MOST_POOLED = 2**32  # numbers, each as often as it is in a window
_checking = contextvars.ContextVar("checking_calls", default=False)


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
        if KERAS_3:
            forget_unmade_variables()
        if refusal is None:
            raise
        raise refusal from error  # Keras makes another error of it, and a long one.


def check_called(agent: Saved) -> None:
    """Refuses networks of which nothing says what they are called on, before they are.

    Args:
        agent: agent that has its networks and is not built.

    Raises:
        UnsafeFileError: when one of them is no model, or has never been called.
    """
    ours = type(agent).__module__.startswith("kerasrl.")
    for network in agent.layers:
        called = getattr(network, "inputs", None) is not None
        model = isinstance(network, keras.Model) and type(network) is not keras.Sequential
        if ours and not called and not model:
            raise UnsafeFileError(f"its network {network.name} is no model that has been called.")


@contextlib.contextmanager
def checking_calls() -> Iterator[None]:
    """Has `check_call` look at networks; they are trusted otherwise."""
    token = _checking.set(True)
    try:
        yield
    finally:
        _checking.reset(token)


def check_call(network: keras.Model, inputs: Any) -> None:
    """Traces the call of a stranger's network, and refuses it if it would make huge tensors.

    Layers without weights can be asked for anything, such as repeating what goes in a billion
    times; tracing allocates none of it. Nothing is done but within `checking_calls`.

    Args:
        network: what is to be called.
        inputs: nest of tensors that it is to be called with, a batch of one.

    Raises:
        UnsafeFileError: when a tensor in it has more than 256 MiB, all have more than 2 GiB, a
            recurrent layer takes more than 4096 steps, or pooling more than 2**32 numbers.
    """
    if not _checking.get():
        return
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    flat = tf.nest.flatten(specs)

    def call(*tensors: tf.Tensor) -> Any:
        return network(tf.nest.pack_sequence_as(specs, tensors), training=False)

    graph = tf.function(call).get_concrete_function(*flat).graph
    definition = graph.as_graph_def(add_shapes=True)
    graphs = [definition.node, *(f.node_def for f in definition.library.function)]
    sizes = [size for nodes in graphs for node in nodes for size in _sizes(node)]
    if max(sizes, default=0) > _LARGEST_TENSOR or sum(sizes) > _LARGEST_GRAPH:
        raise UnsafeFileError(
            f"its network {network.name} makes tensors of {sum(sizes)} bytes for one observation, "
            f"one of {max(sizes)}, and could exhaust memory."
        )
    for nodes in graphs:
        _check_work(network.name, {node.name: node for node in nodes})


def _size(arguments: dict[str, Any]) -> int:
    initial = arguments.get("initial_value")
    shape = arguments.get("shape")
    if shape is None and callable(initial):  # Keras 3 leaves it to what makes the initial value.
        initial = tf.function(initial).get_concrete_function().structured_outputs
    shape = getattr(initial, "shape", None) if shape is None else shape
    shape = tf.TensorShape(() if shape is None else shape)
    if not shape.is_fully_defined():
        return 0
    dtype = arguments.get("dtype") or getattr(initial, "dtype", None) or tf.float32
    return shape.num_elements() * tf.as_dtype(dtype).size


def _check_work(network: str, nodes: dict[str, Any]) -> None:
    """Refuses what takes long however small it is."""
    for node in nodes.values():
        if node.op == "TensorListFromTensor":  # What a recurrent layer goes over.
            source = nodes.get(node.input[0].partition(":")[0])
            steps = [shape[0] for shape in _shapes(source) if shape] if source else []
            if max(steps, default=0) > _LONGEST_SEQUENCE:
                raise UnsafeFileError(f"its network {network} goes over {max(steps)} steps.")
        window = math.prod(node.attr["ksize"].list.i)
        numbers = window * sum(math.prod(shape) for shape in _shapes(node))
        if window > 1 and numbers > _MOST_POOLED:
            raise UnsafeFileError(f"its network {network} pools {numbers} numbers.")


def _sizes(node: Any) -> Iterator[int]:
    """The bytes of what comes out of a graph's node, of one where it is not known of how many."""
    if node.op != "ReadVariableOp":
        for shape in _shapes(node):
            yield 4 * math.prod(1 if size < 0 else size for size in shape)


def _shapes(node: Any) -> list[list[int]]:
    return [[dim.size for dim in shape.dim] for shape in node.attr["_output_shapes"].list.shape]
