"""The way of new priorities out of the gradient step."""

import numpy as np
import tensorflow as tf


class NewPriorities:
    """Variables `[steps, B]` that gradient steps write keys and priorities to, a row each.

    A replay cannot be called from within a step, as XLA and TPUs forbid it; whoever runs the steps
    takes from the variables what they wrote. They are no part of the model, so that no file has
    them. Every replica has its own, of its part of a batch; to be made in the strategy's scope.
    """

    def __init__(self) -> None:
        self._written = _variable(tf.zeros((), tf.int64), ())
        self._keys = _variable(tf.zeros((1, 0), tf.int64), (None, None))
        self._priorities = _variable(tf.zeros((1, 0)), (None, None))

    def make_room(self, steps: int, batch_size: int) -> None:
        """Makes room for so many gradient steps before the next `take`, if there is another."""
        variables = zip(*map(_of_replicas, (self._keys, self._priorities)), strict=True)
        for keys, priorities in variables:
            if tf.shape(keys).numpy().tolist() != [steps, batch_size]:
                keys.assign(tf.zeros((steps, batch_size), tf.int64))
                priorities.assign(tf.zeros((steps, batch_size)))
                for written in _of_replicas(self._written):
                    written.assign(0)

    def write(self, keys: tf.Tensor, priorities: tf.Tensor) -> None:
        """Writes a row, within a gradient step; over the oldest if none were taken for too long."""
        room = tf.convert_to_tensor(self._keys)
        row = [[self._written % tf.shape(room, tf.int64)[0]]]
        self._keys.assign(tf.tensor_scatter_nd_update(room, row, keys[tf.newaxis]))
        room = tf.convert_to_tensor(self._priorities)
        self._priorities.assign(tf.tensor_scatter_nd_update(room, row, priorities[tf.newaxis]))
        self._written.assign_add(1)

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """The keys, int64 `[M]`, and priorities, float32 `[M]`, since the last time, in order."""
        all_keys, all_priorities = [], []
        variables = map(_of_replicas, (self._written, self._keys, self._priorities))
        for written, keys, priorities in zip(*variables, strict=True):
            all_keys.append(keys.numpy()[: int(written)])
            all_priorities.append(priorities.numpy()[: int(written)])
            written.assign(0)
        return (
            np.concatenate(all_keys, axis=1).ravel(),
            np.concatenate(all_priorities, axis=1).ravel(),
        )


def _variable(initial: tf.Tensor, shape: tuple[int | None, ...]) -> tf.Variable:
    return tf.Variable(
        initial,
        trainable=False,
        shape=tf.TensorShape(shape),
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def _of_replicas(variable: tf.Variable) -> tuple[tf.Variable, ...]:
    return tuple(getattr(variable, "values", (variable,)))
