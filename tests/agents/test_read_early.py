"""Loggers that read the dataset before training, or put the callbacks into a list of their own."""

import time

import keras
import pytest
import tensorflow as tf

from kerasrl.callbacks import Collect, CollectRollouts
from kerasrl.errors import ReplayError

RUNS = {
    "uniform": ("dqn", {"callbacks": [Collect(warmup_steps=64)]}),
    "seeded": ("dqn", {"callbacks": [Collect(warmup_steps=64)], "seed": 3}),
    "queue": ("ppo", {"callbacks": [CollectRollouts(length=16)]}),
}


def fit(agent, env, **arguments):
    return agent.fit(env, epochs=2, steps_per_epoch=10, batch_size=8, verbose=0, **arguments)


pytestmark = pytest.mark.keras_2  # On Keras 3 agents have a loop of their own for `fit`.


@pytest.mark.regression(26)
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.table
def test_whoever_reads_the_dataset_early_is_told_at_once(make_agent, tiny_env, monkeypatch, name):
    kind, arguments = RUNS[name]
    keras_fit, seen = keras.Model.fit, []

    def logging_fit(self, x, **arguments):
        begun = time.monotonic()
        with pytest.raises(tf.errors.OpError) as error:
            next(iter(x))
        seen.append((str(error.value), time.monotonic() - begun))
        return keras_fit(self, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", logging_fit)
    agent = make_agent(kind)
    history = fit(agent, tiny_env(), **arguments)
    ((message, seconds),) = seen
    assert "nothing is drawn from the replay before training has begun" in message
    assert seconds < 5
    assert history.epoch == [0, 1]
    assert int(agent.optimizer.iterations) == 20


@pytest.mark.regression(26)
def test_a_reader_that_does_not_take_an_error_has_it_raised(make_agent, tiny_env, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda self, x, **arguments: next(iter(x)))
    agent = make_agent("dqn")
    with pytest.raises(ReplayError, match="before training has begun.*logger of datasets"):
        fit(agent, tiny_env(), **RUNS["uniform"][1])
    assert agent.run is None


@pytest.mark.regression(26)
def test_a_reader_takes_nothing_from_a_seeded_run(make_agent, tiny_env, monkeypatch):
    arguments = {"callbacks": [Collect(warmup_steps=64)], "seed": 3}
    plain = fit(make_agent("dqn"), tiny_env(), **arguments).history["loss"]
    keras_fit = keras.Model.fit

    def logging_fit(self, x, **arguments):
        with pytest.raises(tf.errors.OpError):
            list(x.take(5))
        return keras_fit(self, x, **arguments)

    monkeypatch.setattr(keras.Model, "fit", logging_fit)
    arguments["callbacks"] = [Collect(warmup_steps=64)]
    assert fit(make_agent("dqn"), tiny_env(), **arguments).history["loss"] == plain


class Logger(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


@pytest.mark.regression(26)
@pytest.mark.parametrize("name", ["uniform", "queue"])
@pytest.mark.table
def test_callbacks_may_be_put_into_another_list(make_agent, tiny_env, monkeypatch, capsys, name):
    kind, arguments = RUNS[name]
    keras_fit, logger = keras.Model.fit, Logger()

    def logging_fit(self, x, callbacks, **arguments):
        return keras_fit(self, x, callbacks=[*callbacks, logger], **arguments)

    monkeypatch.setattr(keras.Model, "fit", logging_fit)
    agent = make_agent(kind)
    history = fit(agent, tiny_env(), validation_data=tiny_env(), **arguments)
    assert history.epoch == [0, 1]
    assert [logs["episode_return"] for logs in logger.logs] == [5.0, 5.0]
    assert [logs["val_episode_return"] for logs in logger.logs] == [5.0, 5.0]
    assert history.history["val_episode_return"] == [5.0, 5.0]
    assert agent.history is history
    assert capsys.readouterr().out == ""
