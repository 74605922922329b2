"""Updates that are due at some gradient steps only."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kerasrl.compatibility import make_variables, raw
from kerasrl.training.precision import optimizer_variables


def step_if(
    due: tf.Tensor,
    step: Callable[[], tf.Tensor | None],
    variables: Sequence[tf.Variable],
    optimizer: Any,
    shape: Sequence[int] = (),
) -> tf.Tensor:
    """Takes a step of an optimizer if it is due, as `update_if` does.

    Args:
        due: bool scalar, the same on every replica.
        step: callable that minimises; it returns a float32 tensor, or None for 0.
        variables: what the optimizer changes.
        optimizer: Keras optimizer.
        shape: sequence of int, the shape of what `step` returns.

    Returns:
        What `step` returned, or 0 when it was not due.
    """
    with tf.init_scope():
        make_variables(optimizer, variables)

    def update() -> tf.Tensor:
        result = step()
        return tf.zeros(shape) if result is None else result

    return update_if(due, update, [*variables, *optimizer_variables(optimizer)], shape)


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
            strategy.extended.update(raw(variable), _keep_if, args=(due, value))

    tf.distribute.get_replica_context().merge_call(restore, args=(due, before))
    return tf.where(due, result, 0.0)


def _keep_if(variable: tf.Variable, due: tf.Tensor, before: tf.Tensor) -> None:
    variable.assign(tf.where(due, variable, before))
