"""Packing: a transition of any nest and dtype as one row of bytes, and batches of rows back.

Reverb's cost is per item and per column, so that a transition travels as a single column.
"""

from typing import Any

import numpy as np
import tensorflow as tf


class Packer:
    """Packs nests of arrays into rows of bytes.

    Args:
        spec: dict of nests of `tf.TensorSpec` of known shape: one transition, no batch dimension.
    """

    def __init__(self, spec: dict[str, Any]):
        self._spec = spec
        self._leaves = tf.nest.flatten(spec)
        names = iter(f"f{i}" for i in range(len(self._leaves)))
        self.fields: dict[str, list[str]] = {
            key: [next(names) for _ in tf.nest.flatten(spec[key])] for key in sorted(spec)
        }
        self.dtype = np.dtype(
            [
                (f"f{i}", leaf.dtype.as_numpy_dtype, tuple(leaf.shape))
                for i, leaf in enumerate(self._leaves)
            ]
        )

    def rows(self, count: int | tuple[int, ...]) -> np.ndarray:
        """Allocates a structured array of `count` transitions; see `fields` for its names."""
        return np.zeros(count, self.dtype)

    def to_bytes(self, rows: np.ndarray) -> np.ndarray:
        """Views a contiguous structured array `[K]` as uint8 `[K, row bytes]`, without a copy."""
        return rows.view(np.uint8).reshape(len(rows), self.dtype.itemsize)

    def from_bytes(self, packed: np.ndarray) -> np.ndarray:
        """Views what `to_bytes` gave as a structured array `[K]` again."""
        return np.ascontiguousarray(packed).view(self.dtype).reshape(len(packed))

    def unpack(self, rows: tf.Tensor) -> dict[str, Any]:
        """Turns uint8 `[B, row bytes]` into a dict of nests of `[B, ...]` tensors."""
        sizes = [leaf.dtype.size * leaf.shape.num_elements() for leaf in self._leaves]
        columns = tf.split(rows, sizes, axis=-1)
        leaves = [
            _from_bytes(column, leaf) for column, leaf in zip(columns, self._leaves, strict=True)
        ]
        return tf.nest.pack_sequence_as(self._spec, leaves)


def _from_bytes(column: tf.Tensor, leaf: tf.TensorSpec) -> tf.Tensor:
    shape = [column.shape[0], *leaf.shape]
    if leaf.dtype == tf.bool:
        return tf.cast(tf.reshape(column, shape), tf.bool)
    if leaf.dtype.size == 1:
        return tf.bitcast(tf.reshape(column, shape), leaf.dtype)
    return tf.bitcast(tf.reshape(column, [*shape, leaf.dtype.size]), leaf.dtype)
