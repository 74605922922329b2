"""Updates that are due at some gradient steps only."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def update_if(
    due: tf.Tensor,
    update: Callable[[], tf.Tensor],
    variables: Sequence[tf.Variable],
    shape: Sequence[int] = (),
) -> tf.Tensor:
    """Runs an update if it is due.

    An update that is not due costs nothing, but under a strategy, whose optimizers cannot be used
    within a condition, it is run and taken back.

    Args:
        due: bool scalar, the same on every replica.
        update: callable that changes `variables` and returns a float32 tensor, such as a loss.
        variables: all that `update` changes, the optimizer's among them; they must exist.
        shape: sequence of int, the shape of what `update` returns.

    Returns:
        What `update` returned, or 0 when it was not due.
    """
    if not tf.distribute.has_strategy():
        return tf.cond(due, update, lambda: tf.zeros(shape))
    before = [tf.identity(variable) for variable in variables]
    result = update()

    def restore(strategy: tf.distribute.Strategy, due: tf.Tensor, before: list[tf.Tensor]) -> None:
        for variable, value in zip(variables, before, strict=True):
            strategy.extended.update(variable, _keep_if, args=(due, value))

    tf.distribute.get_replica_context().merge_call(restore, args=(due, before))
    return tf.where(due, result, 0.0)


def _keep_if(variable: tf.Variable, due: tf.Tensor, before: tf.Tensor) -> None:
    variable.assign(tf.where(due, variable, before))
