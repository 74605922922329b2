"""Every figure in every epoch, and what decides by figures that are not known."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl import plot_history
from kerasrl.callbacks import (
    Checkpoint,
    Collect,
    CollectEpisodes,
    CollectRollouts,
    PolicyExport,
    StepsPerSecond,
)
from kerasrl.compatibility import RATE

pytestmark = pytest.mark.regression(13)

COLLECTED = {"episode_return", "episode_length", "env_steps", "env_steps_per_second"}
RESULTS = ("episode_return", "episode_return_std", "episode_length")
EVALUATED = {"val_episode_return", "val_episode_return_std", "val_episode_length"}


class Late(keras.callbacks.Callback):
    """Logs a figure of its own in the second epoch only."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            logs["late"] = 7.0


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits an agent for epochs of two steps in an environment without an end at first."""

    def run(*callbacks, kind="dqn", epochs=4, length=10**6, returns=None, **arguments):
        agent = make_agent(kind, {"run_eagerly": True})
        if returns is not None:  # What the evaluations say, one after the other.
            left = iter(returns)
            agent.evaluate = lambda *_, **__: dict.fromkeys(RESULTS, next(left, 1.0))
            arguments["validation_data"] = tiny_env()
        collectors = {"dqn": lambda: Collect(1, 32), "reinforce": lambda: CollectEpisodes(2, 10)}
        collect = collectors.get(kind, lambda: CollectRollouts(8))()
        size = {} if kind == "reinforce" else {"batch_size": 8}
        history = agent.fit(
            tiny_env(length=5 if kind == "reinforce" else length),
            epochs=epochs,
            steps_per_epoch=2,
            callbacks=[*callbacks, collect],
            **({"verbose": 0} | size | arguments),
        )
        return agent, history

    return run


@pytest.mark.parametrize("kind", ["dqn", "ppo", "a2c", "reinforce"])
@pytest.mark.table
def test_every_column_is_there_from_the_first_row_on(fit, tiny_env, tmp_path, kind):
    path = tmp_path / "log.csv"
    callbacks = [keras.callbacks.CSVLogger(str(path)), StepsPerSecond(), Late()]
    agent, history = fit(
        *callbacks, kind=kind, epochs=3, validation_data=tiny_env(length=3), validation_freq=2
    )
    history = history.history
    assert COLLECTED | EVALUATED | {"steps_per_second", "late"} <= set(history)
    assert {len(column) for column in history.values()} == {3}
    np.testing.assert_array_equal(history["val_episode_return"], [np.nan, 3, np.nan])
    np.testing.assert_array_equal(history["late"], [np.nan, 7, np.nan])
    known = 5.0 if kind == "reinforce" else np.nan
    np.testing.assert_array_equal(history["episode_return"], [known] * 3)
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"epoch", *history} - {"late"}  # Which it has been too late for.
    for name in set(rows[0]) - {"epoch"}:
        np.testing.assert_array_equal([float(row[name]) for row in rows], history[name])


def test_a_run_without_evaluations_has_no_columns_for_them(fit):
    _, history = fit(epochs=1)
    assert not EVALUATED & set(history.history)


RETURNS = (3.0, 9.0, 6.0, 5.0)


@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.table
def test_early_stopping_counts_evaluations_only(fit, patience):
    stop = keras.callbacks.EarlyStopping("val_episode_return", mode="max", patience=patience)
    _, history = fit(stop, epochs=20, returns=RETURNS, validation_freq=3)
    assert history.epoch[-1] + 1 == 3 * (2 + patience)  # The second is the best one.
    assert stop.best == 9.0


def test_the_best_model_is_kept_of_epochs_that_were_evaluated(fit, tmp_path):
    path = str(tmp_path / "{epoch}-{val_episode_return:.0f}.weights.h5")
    best = keras.callbacks.ModelCheckpoint(
        path,
        "val_episode_return",
        save_best_only=True,
        save_weights_only=True,
        mode="max",
    )
    fit(best, epochs=7, returns=RETURNS, validation_freq=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["2-3.weights.h5", "4-9.weights.h5"]


def test_every_model_is_kept_where_the_best_is_not_asked_for(fit, tmp_path):
    path = str(tmp_path / "{epoch}.weights.h5")
    fit(
        keras.callbacks.ModelCheckpoint(path, "episode_return", save_weights_only=True, mode="max"),
        epochs=2,
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_a_plateau_is_one_of_evaluations(fit):
    reduce = keras.callbacks.ReduceLROnPlateau("val_episode_return", 0.5, patience=1, mode="max")
    agent, history = fit(reduce, epochs=6, returns=RETURNS, validation_freq=2)
    np.testing.assert_allclose(history.history[RATE], [0.1] * 6)
    np.testing.assert_allclose(agent.optimizer.learning_rate, 0.05, rtol=1e-6)


def test_the_best_policy_is_of_an_evaluation(fit, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(
        "kerasrl.Agent.export_policy", lambda self, path, *_: exported.append(path.name)
    )
    export = PolicyExport(tmp_path, every_epochs=3)
    fit(export, epochs=6, returns=RETURNS, validation_freq=2)
    assert exported == ["best", "epoch-0003", "best", "epoch-0006"]
    assert export.best == 9.0


def test_tensorboard_has_no_points_for_what_is_not_known(fit, tiny_env, tmp_path):
    board = keras.callbacks.TensorBoard(str(tmp_path))
    fit(board, epochs=3, validation_data=tiny_env(length=3), validation_freq=2)
    found = {}
    for file in tmp_path.glob("*/events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found.setdefault((file.parent.name, value.tag), []).append(event.step)
    assert found["train", "epoch_env_steps"] == [0, 1, 2]
    assert ("train", "epoch_episode_return") not in found
    assert found["validation", "epoch_episode_return"] == [1]


@pytest.mark.thorough
def test_a_run_that_goes_on_has_the_columns_of_the_whole(fit, tiny_env, tmp_path):
    def run(directory, *epochs):
        for last in epochs:
            callbacks = [
                Late(),
                keras.callbacks.CSVLogger(str(directory / "log.csv")),
                Checkpoint(directory / "run"),
            ]
            evaluations = {"validation_data": tiny_env(length=3), "validation_freq": 3}
            _, history = fit(*callbacks, epochs=last, seed=1, **evaluations)
        with open(directory / "log.csv") as file:
            return history.history, list(csv.DictReader(file))

    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    (whole, rows), (broken, others) = run(tmp_path / "whole", 4), run(tmp_path / "broken", 1, 4)
    assert list(rows[0]) == list(others[0])
    assert list(whole) == list(broken)
    assert {len(column) for column in broken.values()} == {len(others)} == {4}
    for name in (*EVALUATED, "env_steps", "late", "learning_rate"):
        np.testing.assert_array_equal(whole[name], broken[name])
        if name != "late":
            assert [row[name] for row in rows] == [row[name] for row in others]


def test_the_picture_leaves_out_what_is_not_known(fit, tiny_env):
    _, history = fit(epochs=4, validation_data=tiny_env(length=3), validation_freq=2)
    (line,) = plot_history(history).axes[0].lines
    assert [list(data) for data in line.get_data()] == [history.history["env_steps"][1::2], [3, 3]]


def test_collecting_alone_is_drawn_where_nothing_was_evaluated():
    history = {
        "env_steps": [10, 20, 30],
        "episode_return": [None, 2.0, 3.0],
        "val_episode_return": [np.nan] * 3,
    }
    (line,) = plot_history(history).axes[0].lines
    assert [list(data) for data in line.get_data()] == [[20, 30], [2, 3]]
