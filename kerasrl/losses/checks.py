"""What losses ask of the shapes of their arguments."""

import tensorflow as tf

from kerasrl.errors import ArgumentError


def check_one_shape(function: str, **arguments: tf.Tensor) -> None:
    """Raises `ArgumentError` unless all arguments have one shape, as far as shapes are known.

    Broadcasting [B] against [B, 1] would make [B, B] of it without a word.

    Args:
        function: str, the function that was called.
        **arguments: tensors or arrays by name; the first sets the shape.
    """
    shapes = {name: tf.convert_to_tensor(x).shape for name, x in arguments.items()}
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if not shape.is_compatible_with(shapes[first]):
            raise ArgumentError(
                f"{function} needs {name} of the shape of {first}, {shapes[first]}; received "
                f"{shape}. Drop an axis of size 1 with tf.squeeze(x, axis=-1)."
            )
