"""Several outputs of a policy as one float32 tensor, and back."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import NetworkError

# What float32 holds exactly; anything else travels as the 16-bit pieces that it consists of.
_EXACT = (
    *(tf.float32, tf.float16, tf.bfloat16, tf.bool),
    *(tf.int8, tf.uint8, tf.int16, tf.uint16),
)
_PIECE = tf.int16


class Outputs:
    """How a nest of tensors `[N, ...]` becomes one, of which nobody has to guess an order.

    One alone stays as it is. Several are put side by side in a float32 tensor `[N, columns]`, from
    which each comes back bit for bit.

    Args:
        nest: nest of tensors.
        num_envs: int, N.

    Raises:
        NetworkError: when there is none, or one of several is not `[N, ...]` or holds no numbers.

    Attributes:
        spec: nest of `tf.TensorSpec` `[N, ...]`.
    """

    def __init__(self, nest: Any, num_envs: int):
        self.spec = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), nest)
        self._leaves = tf.nest.flatten(self.spec)
        if not self._leaves:
            raise NetworkError(
                f"a policy must compute a tensor or a nest of tensors; received {nest!r}."
            )
        self._alone = len(self._leaves) == 1
        if not self._alone:
            for leaf in self._leaves:
                _check(leaf, num_envs)
            self._ends = np.cumsum([_columns(leaf) for leaf in self._leaves]).tolist()

    def pack(self, nest: Any) -> tf.Tensor:
        """Puts the tensors side by side; to be traced."""
        leaves = tf.nest.flatten(nest)
        return leaves[0] if self._alone else tf.concat([_as_floats(x) for x in leaves], axis=-1)

    def unpack(self, packed: np.ndarray) -> Any:
        """Takes the nest of arrays apart again."""
        if self._alone:
            leaves = [packed]
        else:
            columns = np.split(packed, self._ends[:-1], axis=-1)
            leaves = [_from_floats(*both) for both in zip(columns, self._leaves, strict=True)]
        return tf.nest.pack_sequence_as(self.spec, leaves)


def _check(leaf: tf.TensorSpec, num_envs: int) -> None:
    numeric = leaf.dtype.is_floating or leaf.dtype.is_integer or leaf.dtype.is_bool
    if not numeric or not leaf.shape.is_fully_defined() or leaf.shape[:1] != [num_envs]:
        raise NetworkError(
            "each of several tensors that a policy computes must hold numbers or bools and have "
            f"the shape [N, ...], N={num_envs} here; received {leaf.dtype.name} {leaf.shape}."
        )


def _columns(leaf: tf.TensorSpec) -> int:
    pieces = 1 if leaf.dtype in _EXACT else leaf.dtype.size // _PIECE.size
    return pieces * int(np.prod(leaf.shape[1:]))


def _as_floats(tensor: tf.Tensor) -> tf.Tensor:
    """Float32 `[N, columns]` that hold every bit of a tensor."""
    pieces = tensor if tensor.dtype in _EXACT else tf.bitcast(tensor, _PIECE)
    return tf.reshape(tf.cast(pieces, tf.float32), (tensor.shape[0], -1))


def _from_floats(columns: np.ndarray, leaf: tf.TensorSpec) -> np.ndarray:
    dtype = leaf.dtype.as_numpy_dtype
    if leaf.dtype in _EXACT:
        return columns.reshape(leaf.shape).astype(dtype, copy=False)
    pieces = np.ascontiguousarray(columns.astype(_PIECE.as_numpy_dtype))
    return pieces.view(dtype).reshape(leaf.shape)
