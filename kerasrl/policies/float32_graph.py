"""Acting in float32 with networks that compute in less."""

from typing import Any

import tensorflow as tf

_LESS = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum}
_FLOAT = tf.float32.as_datatype_enum


def computing_in_float32(definition: Any) -> Any:
    """Has a graph compute in float32 whatever it computes in float16 or bfloat16.

    TensorFlow Lite computes in neither. What is fed to the graph has to be cast to float32.

    Args:
        definition: `GraphDef`, which is changed.

    Returns:
        The same.
    """
    functions = definition.library.function
    for node in [*definition.node, *(node for each in functions for node in each.node_def)]:
        for attribute in node.attr.values():
            _widen(attribute)
    for each in functions:
        for argument in [*each.signature.input_arg, *each.signature.output_arg]:
            if argument.type in _LESS:
                argument.type = _FLOAT
    return definition


def as_float32(value: tf.Tensor) -> tf.Tensor:
    """Casts what is fed to such a graph."""
    return tf.cast(value, tf.float32) if value.dtype.as_datatype_enum in _LESS else value


def _widen(attribute: Any) -> None:
    kind = attribute.WhichOneof("value")
    if kind == "type" and attribute.type in _LESS:
        attribute.type = _FLOAT
    elif kind == "list":
        for i, one in enumerate(attribute.list.type):
            if one in _LESS:
                attribute.list.type[i] = _FLOAT
    elif kind == "tensor" and attribute.tensor.dtype in _LESS:
        values = tf.make_ndarray(attribute.tensor).astype("float32")
        attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
