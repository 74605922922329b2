"""What `Agent.fit` does, from opening the environments to closing them."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl.arguments import whole
from kerasrl.checkpoints import resume as resuming
from kerasrl.errors import EnvWorkerError, KerasRLError
from kerasrl.run import Run
from kerasrl.training import building, chosen_callbacks, offline, opening, run_callbacks, run_length
from kerasrl.training.ending import CarriedError
from kerasrl.training.interruption import Interrupted, Interruption

_OF_THE_DATA = (tf.errors.OpError, ValueError, StopIteration)


def fit(
    agent: keras.Model,
    keras_fit: Any,
    run: Run,
    x: Any,
    *,
    epochs: int | None,
    steps_per_epoch: int | None,
    batch_size: int | None,
    num_envs: int,
    replay: Any,
    validation_data: Any,
    validation_freq: int,
    callbacks: list[keras.callbacks.Callback] | None,
    verbose: str | int,
    initial_epoch: int,
) -> keras.callbacks.History:
    """Trains an agent; see `Agent.fit`.

    Args:
        agent: the agent.
        keras_fit: `keras.Model.fit` of the agent.
        run: `Run`, which the callbacks see.
        x: as for `Agent.fit`, like all that follows.
    """
    verbose = run_callbacks.verbosity(verbose)
    epochs = whole("epochs", epochs, least=0, optional=True)
    if steps_per_epoch is not None:
        steps_per_epoch = whole("steps_per_epoch", steps_per_epoch)
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size)
    num_envs = whole("num_envs", num_envs)
    initial_epoch = whole("initial_epoch", initial_epoch, least=0)
    with Interruption() as interruption, opening.running(agent, run) as resources:
        opening.seed_everything(agent, run.seed)
        if isinstance(x, tf.data.Dataset):
            offline.check_offline(
                env_steps=run.env_steps,
                batch_size=batch_size,
                replay=replay,
                num_envs=None if num_envs == 1 else num_envs,
            )
            run.offline = offline.OfflineData(agent, x, validation_data)
        else:
            opening.open_environments(agent, run, resources, x, num_envs)
            run.batch_size = opening.check_batch_size(agent, batch_size)
        given = chosen_callbacks.evaluation(validation_data, validation_freq, run.seed)
        given += [] if callbacks is None else tf.nest.flatten(callbacks)
        listed = chosen_callbacks.all_callbacks(agent, run, resources, given)
        chosen_callbacks.check_shared(run, x, listed)
        run.resumed = resuming.find(agent, run)
        if run.environments is not None:
            dataset = opening.open_replay(agent, run, resources, replay)
        else:
            dataset = run.offline.prepared(resuming.rest_of(x, run, steps_per_epoch))
        building.check_optimizers(agent)
        building.make_slots_early(agent)
        resuming.restore(agent, run)
        epochs, steps_per_epoch = run_length.length(run, epochs, steps_per_epoch, initial_epoch)
        if verbose:
            run_length.say_what_is_more(run)
        run.keras_callbacks = run_callbacks.keras_callbacks(
            agent, interruption, epochs, steps_per_epoch, verbose
        )
        resources.callback(run.keras_callbacks.close)
        return _train(
            run,
            interruption,
            keras_fit,
            dataset,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            initial_epoch=initial_epoch,
            callbacks=run.keras_callbacks,
            verbose=0,  # The progress bar is among the callbacks.
        )


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
    data, own = run.replay or run.offline, isinstance(error, KerasRLError)
    if own or data is None or not isinstance(error, _OF_THE_DATA):
        return None
    return data.failure()
