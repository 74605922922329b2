"""What `Agent.fit` does, from opening the environments to closing them."""

import contextlib
import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kerasrl.checkpoints import resume
from kerasrl.errors import EnvWorkerError, KerasRLError
from kerasrl.run import Run
from kerasrl.training import (
    building,
    chosen_callbacks,
    executions,
    offline,
    opening,
    run_callbacks,
    run_length,
)
from kerasrl.training.ending import CarriedError
from kerasrl.training.fit_arguments import FitArguments
from kerasrl.training.interruption import Interrupted, Interruption

_OF_THE_DATA = (tf.errors.OpError, ValueError, StopIteration)


def fit(agent: keras.Model, keras_fit: Any, x: Any, asked: FitArguments) -> keras.callbacks.History:
    """Trains an agent; see `Agent.fit`.

    Args:
        agent: the agent.
        keras_fit: `keras.Model.fit` of the agent.
        x: as for `Agent.fit`.
        asked: `FitArguments`.
    """
    run = Run(seed=asked.seed, env_steps=asked.env_steps, faults=asked.faults)
    with Interruption() as interruption, opening.running(agent, run) as resources:
        opening.seed_everything(agent, asked.seed)
        run = agent.run = _with_environments(agent, run, x, asked, resources)
        run = agent.run = _with_callbacks(agent, run, x, asked, resources)
        run, dataset = _with_data(agent, run, x, asked, resources)
        building.check_optimizers(agent)
        building.make_slots_early(agent)
        resume.restore(agent, run)
        epochs, steps_per_epoch = run_length.length(run, asked)
        executions.choose(agent, run, dataset, steps_per_epoch, asked.verbose)
        run.keras_callbacks = run_callbacks.keras_callbacks(
            agent, interruption, epochs, steps_per_epoch, asked.verbose
        )
        resources.callback(run.keras_callbacks.close)
        return _train(
            run,
            interruption,
            keras_fit,
            dataset,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            initial_epoch=asked.initial_epoch,
            callbacks=run.keras_callbacks,
            verbose=0,  # The progress bar is among the callbacks.
        )


def _with_environments(
    agent: keras.Model, run: Run, x: Any, asked: FitArguments, resources: contextlib.ExitStack
) -> Run:
    """The run with its environments, or with the dataset in their place; the agent is built."""
    if isinstance(x, tf.data.Dataset):
        offline.check_offline(
            env_steps=asked.env_steps,
            batch_size=asked.batch_size,
            replay=asked.replay,
            num_envs=None if asked.num_envs == 1 else asked.num_envs,
        )
        data = offline.OfflineData(agent, x, asked.validation_data)
        return dataclasses.replace(run, replay=data)
    replay = opening.choose_replay(agent, asked.replay, resources)
    environments = opening.open_environments(agent, x, asked, resources)
    batch_size = opening.check_batch_size(agent, asked.batch_size)
    return dataclasses.replace(run, replay=replay, environments=environments, batch_size=batch_size)


def _with_callbacks(
    agent: keras.Model, run: Run, x: Any, asked: FitArguments, resources: contextlib.ExitStack
) -> Run:
    """The run with all callbacks but Keras's own, in the order in which they are called."""
    given = [*chosen_callbacks.evaluation(asked), *asked.callbacks]
    priorities = run.replay is not None and run.replay.priorities
    listed = chosen_callbacks.all_callbacks(agent, run.environments is not None, given, priorities)
    for callback in listed:
        if hasattr(callback, "close"):
            resources.callback(callback.close)
    chosen_callbacks.check_shared(run.environments, x, listed)
    return dataclasses.replace(run, callbacks=listed)


def _with_data(
    agent: keras.Model, run: Run, x: Any, asked: FitArguments, resources: contextlib.ExitStack
) -> tuple[Run, tf.data.Dataset]:
    """The run with its replay, as a checkpoint has it, and the dataset that is trained on."""
    run = agent.run = dataclasses.replace(run, resumed=resume.find(agent, run))
    if run.environments is None:
        batches = offline.without_keys(run.replay.dataset())
        left = resume.rest_of(batches, run, asked.steps_per_epoch)
        return run, run.replay.prepared(left)
    opening.open_replay(agent, run, resources)
    return run, opening.batches(agent, run, resources)


def _train(
    run: Run,
    interruption: Interruption,
    keras_fit: Any,
    dataset: tf.data.Dataset,
    **arguments: Any,
) -> keras.callbacks.History:
    """Calls Keras, and sees to it that an error says where it comes from."""
    try:
        return keras_fit(dataset, **arguments)
    except Interrupted:
        run.keras_callbacks.on_train_end()
        raise
    except CarriedError as carrier:
        carried = carrier.error
    except Exception as error:
        _explain(run, interruption, error)
        raise
    try:  # Out of the handler, so that the error has no other context than it had.
        _explain(run, interruption, carried)
        raise carried
    finally:
        del carried


def _explain(run: Run, interruption: Interruption, error: Exception) -> None:
    """Raises what is behind an error, or notes on it which callback it comes from."""
    if isinstance(error, EnvWorkerError) and interruption.received:  # It was sent to both.
        run.keras_callbacks.on_train_end()
        raise Interrupted from error
    if (failure := _failure_of_data(run, error)) is not None:
        raise failure from error
    run.keras_callbacks.blame(error)


def _failure_of_data(run: Run, error: Exception) -> KerasRLError | None:
    """The data's own error, where TensorFlow or Keras may have put another in its place."""
    if isinstance(error, KerasRLError) or not isinstance(error, _OF_THE_DATA):
        return None
    return run.replay.failure()
