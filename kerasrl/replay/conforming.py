"""Arrays and tensors brought to the structure, the shapes and the dtypes of specs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError


def map_leaves(function: Callable[..., Any], spec: Any, nest: Any, path: str) -> Any:
    """Calls `function(path, spec, value)` for every leaf of a nest that has to be like `spec`.

    Args:
        function: callable.
        spec: nest of dicts and tuples of `tf.TensorSpec`.
        nest: nest of values, whose tuples may be lists.
        path: str, what the nest is called.

    Returns:
        Nest, of the structure of `spec`, of what it returned.

    Raises:
        ArgumentError: when the structure is another, with the path of where.
    """
    if isinstance(spec, dict):
        if not isinstance(nest, Mapping) or set(nest) != set(spec):
            received = sorted(map(str, nest)) if isinstance(nest, Mapping) else _described(nest)
            raise ArgumentError(
                f"{path} must be a dict with the keys {sorted(spec)}; received {received}."
            )
        return {
            key: map_leaves(function, child, nest[key], f"{path}[{key!r}]")
            for key, child in spec.items()
        }
    if isinstance(spec, tuple):
        if not isinstance(nest, tuple | list) or len(nest) != len(spec):
            raise ArgumentError(
                f"{path} must be a tuple of {len(spec)}; received {_described(nest)}."
            )
        children = enumerate(zip(spec, nest, strict=True))
        return tuple(
            map_leaves(function, child, value, f"{path}[{i}]") for i, (child, value) in children
        )
    return function(path, spec, nest)


def check_batched(path: str, spec: tf.TensorSpec, shape: tf.TensorShape) -> None:
    """Raises `ArgumentError` unless a shape is that of a batch of `spec`, as far as it is known."""
    expected = tf.TensorShape([None, *spec.shape])
    if expected.is_compatible_with(shape):
        return
    rule = f"{path} must be a batch, {expected.as_list()}; received {shape.as_list()}"
    if spec.shape.is_compatible_with(shape):
        raise ArgumentError(
            f"{rule}, which is a single one. Give every array of it a batch dimension, as "
            "array[np.newaxis] does, and take the first of what comes out."
        )
    raise ArgumentError(f"{rule}.")


def check_dtype(path: str, spec: tf.TensorSpec, dtype: Any) -> None:
    """Raises `ArgumentError` unless values of `dtype` can be cast to that of `spec`.

    Floats and integers can be made floats, and integers others, if these hold their values.
    """
    dtype, wanted = tf.as_dtype(dtype), spec.dtype
    numbers = dtype.is_integer or dtype.is_bool or dtype.is_floating
    if dtype != wanted and not (numbers and (wanted.is_floating or not dtype.is_floating)):
        raise ArgumentError(
            f"{path} must be {wanted.name}; received {dtype.name}, which cannot be cast without "
            f"loss. Cast it beforehand."
        )


def batch_of(spec: Any, nest: Any, path: str) -> Any:
    """Brings a batch of arrays to what `spec` says.

    Args:
        spec: nest of dicts and tuples of `tf.TensorSpec`, without a batch dimension.
        nest: nest of arrays, tensors or lists of numbers `[B, ...]`.
        path: str, what the nest is called.

    Returns:
        Nest of arrays of the specs' dtypes.

    Raises:
        ArgumentError: when the structure, a shape, a dtype or an integer does not fit.
    """

    def convert(path: str, spec: tf.TensorSpec, value: Any) -> np.ndarray:
        try:
            array = np.asarray(value)
            tf.as_dtype(array.dtype)
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"{path} must be an array of {spec.dtype.name}; received {_described(value)}."
            ) from error
        check_batched(path, spec, tf.TensorShape(array.shape))
        check_dtype(path, spec, array.dtype)
        wanted = spec.dtype.as_numpy_dtype
        if spec.dtype.is_integer and array.size:
            least, most = int(array.min()), int(array.max())
            if least < spec.dtype.min or most > spec.dtype.max:
                beyond = least if least < spec.dtype.min else most
                raise ArgumentError(f"{path} must be {spec.dtype.name}; received {beyond} in it.")
        return array if array.dtype == wanted else array.astype(wanted)

    return map_leaves(convert, spec, nest, path)


def check_shapes(spec: Any, nest: Any, path: str) -> None:
    """Raises `ArgumentError` unless a nest is a batch of `spec`, by its structure and shapes.

    Values without a shape are not looked at.
    """

    def check(path: str, spec: tf.TensorSpec, value: Any) -> None:
        if hasattr(value, "shape"):
            check_batched(path, spec, tf.TensorShape(value.shape))

    map_leaves(check, spec, nest, path)


def _described(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{tf.as_dtype(value.dtype).name}{list(value.shape)}"
    if isinstance(value, tuple | list) and len(value) > 3:
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
