"""`fit` and its train function for Keras 3, whose own cannot be gone on with.

Keras 3 begins with whole epochs, and takes whole executions, beyond the end of an epoch if need be.
These two do as Keras 2 does: they may begin within an epoch, and the last execution of an epoch has
as many steps as are left.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasrl import saving
from kerasrl.compatibility import steps_per_execution
from kerasrl.errors import ArgumentError
from kerasrl.private import restored_epoch
from kerasrl.warning import warn

_Logs = dict[str, tf.Tensor]


def fit(
    agent: Any,
    dataset: tf.data.Dataset,
    *,
    epochs: int,
    steps_per_epoch: int | None,
    initial_epoch: int,
    callbacks: keras.callbacks.CallbackList,
    verbose: int,
) -> keras.callbacks.History:
    """Trains an agent.

    Args:
        agent: built and compiled agent.
        dataset: `tf.data.Dataset` of batches.
        epochs: int, the index of the epoch after the last.
        steps_per_epoch: int, gradient steps in an epoch; None for as many as there are batches.
        initial_epoch: int, the epoch to begin with.
        callbacks: list of callbacks, a progress bar among them.
        verbose: 0.
    """
    steps_per_epoch, new_each_epoch = _length(dataset, steps_per_epoch)
    if steps_per_epoch is None and steps_per_execution(agent) > 1:
        raise ArgumentError(
            "the size of the data cannot be told. With steps_per_execution > 1, pass "
            "steps_per_epoch."
        )
    with agent.distribute_strategy.scope():
        batches = agent.distribute_strategy.experimental_distribute_dataset(dataset)
        agent.stop_training = False
        agent.make_train_function()
        saving.make_slots(agent)  # Callbacks that load weights would make them of all weights.
        callbacks.on_train_begin()
        initial_epoch = restored_epoch(agent) or initial_epoch
        counters = agent.initial_counters(initial_epoch, steps_per_epoch)
        first_epoch, first_step = counters or (initial_epoch, 0)
        iterator, logs = iter(batches), None
        for epoch in range(first_epoch, epochs):
            agent.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            steps = _Steps(agent, iterator, steps_per_epoch, first_step)
            logs = steps.take(callbacks)
            first_step, steps_per_epoch = 0, steps.steps_per_epoch
            callbacks.on_epoch_end(epoch, logs)
            if agent.stop_training or steps.lacking:
                break
            if new_each_epoch:
                iterator = iter(batches)
        if epochs > first_epoch:
            agent.optimizer.finalize_variable_values(agent.trainable_weights)
        callbacks.on_train_end(logs)
        return agent.history


class _Steps:
    """The gradient steps of an epoch.

    Attributes:
        steps_per_epoch: int, how many there are, once it is known.
        lacking: bool, whether the data ended before.
    """

    def __init__(
        self, agent: Any, iterator: Iterator[Any], steps_per_epoch: int | None, first: int
    ):
        self._agent, self._iterator, self._step = agent, iterator, first
        self.steps_per_epoch = steps_per_epoch
        self.lacking = False

    def take(self, callbacks: keras.callbacks.CallbackList) -> _Logs:
        """Takes the steps; returns what the last one logged."""
        logs: _Logs = {}
        try:
            while self._left() and not self._agent.stop_training:
                callbacks.on_train_batch_begin(self._step)
                steps = min(steps_per_execution(self._agent), self._left())
                logs = self._agent.train_function(self._iterator, int(steps))
                self._step += int(steps)
                callbacks.on_train_batch_end(self._step - 1, logs)
        except (StopIteration, tf.errors.OutOfRangeError):
            if self.steps_per_epoch is not None:
                self.lacking = True
                warn(
                    f"the data ended after {self._step} of {self.steps_per_epoch} steps of an "
                    "epoch, and training with it. Have the dataset repeat, or train for fewer "
                    "steps."
                )
            self.steps_per_epoch = self.steps_per_epoch or self._step
        return logs

    def _left(self) -> float:
        return float("inf") if self.steps_per_epoch is None else self.steps_per_epoch - self._step


def _length(dataset: tf.data.Dataset, steps_per_epoch: int | None) -> tuple[int | None, bool]:
    """The steps of an epoch, if they can be told, and whether each begins the dataset anew."""
    if steps_per_epoch is not None:
        return steps_per_epoch, False
    size = int(dataset.cardinality())
    if size == tf.data.INFINITE_CARDINALITY:
        raise ArgumentError("an endless dataset has no length; pass steps_per_epoch.")
    return (size if size >= 0 else None), True


def steps_function(agent: Any) -> Callable[..., _Logs]:
    """Makes what takes some gradient steps: callable of an iterator and an int.

    Args:
        agent: compiled agent.
    """
    strategy, train_step = agent.distribute_strategy, agent.train_step
    with strategy.scope():
        alone = not tf.distribute.has_strategy()
    # Replicas must not meet within a function of one's own; otherwise it is traced but once.
    if not agent.run_eagerly and (alone or agent.jit_compile):
        train_step = tf.function(train_step, jit_compile=agent.jit_compile, reduce_retracing=True)

    def one_step(iterator: Any) -> _Logs:
        logs = strategy.run(train_step, args=(next(iterator),))
        # Running means are those of all replicas already.
        return tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], logs
        )

    def several(iterator: Any, steps: Any = 1) -> _Logs:
        logs = one_step(iterator)
        for _ in tf.range(steps - 1):
            logs = one_step(iterator)
        return logs

    if agent.run_eagerly:
        return several

    graph = tf.function(several, reduce_retracing=True)
    return lambda iterator, steps=1: graph(iterator, tf.constant(steps, tf.int32))
