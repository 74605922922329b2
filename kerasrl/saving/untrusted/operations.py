"""TensorFlow operations between Keras tensors, such as `v + a - tf.reduce_mean(a, 1)` in a network.

Keras writes each as a layer that names a function, and the arguments in the layer's connections. A
file from a stranger may name those below. All compute with tensors and do nothing else: none runs
code, reads a file, draws random numbers or keeps anything. What comes out is of the size of what
goes in, or, where sizes are multiplied or numbers say it (broadcasting, `matmul`, `one_hot`,
`gather`, `reshape`), is counted by `check_call` before anything is computed. Left out are those
whose numbers make something at once or many operations (`fill`, `zeros`, `range`, `linspace`,
`eye`, `tile`, `repeat`, `pad`, `unstack`), those that take functions (`map_fn`, `while_loop`) or
strings (`einsum`, `strings`), and those that read and write (`io`, `py_function`, `raw_ops`).
"""

from collections.abc import Iterator
from typing import Any

from kerasrl.errors import UnsafeFileError

CLASSES = ("TFOpLambda", "SlicingOpLambda")
CONSTANT = "_CONSTANT_VALUE"  # In the place of a layer's name, in connections.

_ELEMENTWISE = """
    math.abs math.negative math.sign math.exp math.expm1 math.log math.log1p math.sqrt math.rsqrt
    math.square math.reciprocal math.sin math.cos math.tanh math.sigmoid math.softplus math.erf
    math.floor math.ceil math.round math.logical_not nn.relu nn.relu6 nn.elu nn.selu nn.silu
    nn.softsign identity stop_gradient zeros_like ones_like
"""
_OF_TWO = """
    __operators__.add __operators__.eq __operators__.ne math.add math.subtract math.multiply
    math.truediv math.divide math.floormod math.pow math.maximum math.minimum math.greater
    math.greater_equal math.less math.less_equal math.equal math.not_equal math.logical_and
    math.logical_or math.squared_difference
"""
_REDUCTIONS = """
    math.reduce_mean math.reduce_sum math.reduce_max math.reduce_min math.reduce_prod
    math.reduce_std math.reduce_variance math.reduce_logsumexp math.reduce_all math.reduce_any
"""

# By the name that Keras 2.15 writes: the arguments that there may be beside the first.
OPERATIONS: dict[str, frozenset[str]] = {
    **{name: frozenset({"name"}) for name in _ELEMENTWISE.split()},
    **{name: frozenset({"x", "y", "name"}) for name in _OF_TWO.split()},
    **{name: frozenset({"axis", "keepdims", "name"}) for name in _REDUCTIONS.split()},
    **{
        name: frozenset(arguments.split())
        for name, arguments in {
            "__operators__.getitem": "slice_spec",
            "cast": "dtype name",
            "clip_by_value": "clip_value_min clip_value_max name",
            "compat.v1.gather": "indices validate_indices name axis batch_dims",
            "compat.v1.shape": "name out_type",
            "compat.v1.squeeze": "axis name",
            "compat.v1.transpose": "perm name conjugate",
            "concat": "axis name",
            "expand_dims": "axis name",
            "linalg.matmul": "b transpose_a transpose_b name",
            "math.add_n": "name",
            "math.argmax": "axis output_type name",
            "math.argmin": "axis output_type name",
            "math.l2_normalize": "axis epsilon name",
            "nn.leaky_relu": "alpha name",
            "nn.log_softmax": "axis name",
            "nn.softmax": "axis name",
            "one_hot": "depth on_value off_value axis dtype name",
            "reshape": "shape name",
            "split": "num_or_size_splits axis name",
            "stack": "axis name",
            "where": "x y name",
        }.items()
    },
}
_DTYPES = {
    *("bool", "float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32"),
    "int64",
}
_LARGEST = {"num_or_size_splits": 1024, "depth": 2**16}  # Split makes so many tensors.
_MOST_NUMBERS = 4096  # in an argument
_CONFIG = {"name", "trainable", "dtype", "function"}


def check_operation(node: dict[str, Any]) -> None:
    """Refuses an operation that is not in the list, or that has arguments of another kind.

    Args:
        node: dict, the layer as the config has it.

    Raises:
        UnsafeFileError: when it is one.
    """
    config = node["config"]
    name = config.get("function") if isinstance(config, dict) else None
    if not isinstance(name, str) or name not in OPERATIONS or set(config) - _CONFIG:
        raise UnsafeFileError(
            f"its config has the operation tf.{name!s:.60} between layers, which is not one of the "
            "plain ones that a stranger's file may have. Do it in the call of a layer of your own, "
            "registered with @keras.saving.register_keras_serializable(), and save it again."
        )
    if (node["class_name"] == "SlicingOpLambda") != (name == "__operators__.getitem"):
        raise UnsafeFileError(f"its config has {node['class_name']} for tf.{name}.")
    for entry in _entries(name, node.get("inbound_nodes") or []):
        _check_entry(name, entry)


def without_constants(connections: Any) -> Any:
    """The connections of a checked operation, but for what says that a number is there."""
    if isinstance(connections, list):
        return [without_constants(child) for child in connections]
    return None if connections == CONSTANT else connections


def _entries(name: str, connections: Any) -> Iterator[list]:
    """What each call is made on: one tensor, or a list of some."""
    for call in connections:
        if isinstance(call, list) and call and isinstance(call[0], str):
            yield call
        elif isinstance(call, list) and all(isinstance(entry, list) for entry in call):
            yield from call
        else:
            raise _refused(name, call)


def _check_entry(name: str, entry: list) -> None:
    if len(entry) != 4 or not isinstance(entry[0], str) or not isinstance(entry[3], dict):
        raise _refused(name, entry)
    arguments = entry[3]
    for key, value in arguments.items():
        if key not in OPERATIONS[name]:
            raise _refused(name, {key: value})
        _check_argument(name, key, value)
    if entry[0] == CONSTANT:
        # Without a tensor among them it would be computed at once, and not in a graph.
        if name not in _OF_TWO.split() or not any(map(_is_tensor, arguments.values())):
            raise _refused(name, entry)
        _check_argument(name, "x", entry[2])
    elif not _is_tensor(entry[:3]):
        raise _refused(name, entry)


def _check_argument(name: str, key: str, value: Any) -> None:
    """Numbers and tensors, and names where TensorFlow takes nothing else for them."""
    if key == "name":
        right = value is None or isinstance(value, str)
    elif key in ("dtype", "out_type", "output_type"):
        right = value is None or (isinstance(value, str) and value in _DTYPES)
    else:
        scalars = list(_scalars(value, key == "slice_spec"))
        right = None not in scalars and len(scalars) <= _MOST_NUMBERS
        right = right and all(abs(x) <= _LARGEST.get(key, abs(x)) for x in scalars)
    if not right:
        raise _refused(name, {key: value})


def _scalars(value: Any, slicing: bool) -> Iterator[Any]:
    """The numbers in an argument, and None for what is neither a number nor a tensor."""
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, list) and not _is_tensor(value):
        for child in value:
            yield from _scalars(child, slicing)
    elif slicing and isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        for child in value.values():
            yield from _scalars(child, slicing)
    elif not (value is None or _is_tensor(value) or (slicing and value == "Ellipsis")):
        yield None


def _is_tensor(value: Any) -> bool:
    """Whether it is how connections name another layer's output."""
    if not isinstance(value, list) or len(value) != 3 or value[0] == CONSTANT:
        return False
    return isinstance(value[0], str) and all(type(number) is int for number in value[1:])


def _refused(name: str, found: Any) -> UnsafeFileError:
    return UnsafeFileError(
        f"its config has tf.{name} with arguments of another kind: {found!r:.80}."
    )
