"""Keras's own callbacks, as they are."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.callbacks import Collect, CollectRollouts
from kerasrl.compatibility import RATE


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits an agent for a few epochs of two steps with callbacks; returns it and the history."""

    def run(*callbacks, epochs=3, kind="dqn", **arguments):
        agent = make_agent(kind, {"run_eagerly": True})
        arguments.setdefault("validation_data", tiny_env(length=3, action_space=agent.action_space))
        history = agent.fit(
            tiny_env(action_space=agent.action_space),
            epochs=epochs,
            steps_per_epoch=2,
            batch_size=4,
            callbacks=[*callbacks, Collect(warmup_steps=32)],
            **({"verbose": 0} | arguments),
        )
        return agent, history

    return run


def test_early_stopping_sees_the_evaluation(fit):
    callback = keras.callbacks.EarlyStopping("val_episode_return", mode="max", patience=1)
    _, history = fit(callback, epochs=9)
    assert history.epoch == [0, 1]  # The return is always 3: the second epoch is no better.
    assert callback.best == 3.0


def test_early_stopping_restores_the_best_weights(fit):
    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                first.extend(self.model.get_weights())

    first = []
    stop = keras.callbacks.EarlyStopping(
        "val_episode_return", mode="max", patience=1, restore_best_weights=True
    )
    agent, _ = fit(stop, Note(), epochs=9)
    for one, other in zip(agent.get_weights(), first, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["dqn", "sac"])
@pytest.mark.table
def test_model_checkpoint_of_weights(fit, make_agent, tmp_path, kind):
    path = tmp_path / "{epoch}-{val_episode_return:.0f}.weights.h5"
    save = keras.callbacks.ModelCheckpoint(
        str(path),
        save_weights_only=True,
        save_best_only=True,
        monitor="val_episode_return",
        mode="max",
    )
    agent, _ = fit(save, epochs=1, kind=kind)
    assert [file.name for file in tmp_path.iterdir()] == ["1-3.weights.h5"]
    other = make_agent(kind)
    other.set_weights([w * 0 for w in other.get_weights()])
    other.load_weights(str(tmp_path / "1-3.weights.h5"))
    for one, two in zip(agent.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_tensorboard(fit, tmp_path):
    fit(keras.callbacks.TensorBoard(str(tmp_path), update_freq=1))
    values = {"train": {}, "validation": {}}
    for part, found in values.items():
        for file in (tmp_path / part).glob("events*"):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                found |= {
                    v.tag: float(tf.make_ndarray(v.tensor))
                    for v in event.summary.value
                    if v.tag.startswith("epoch")
                }
    assert {"epoch_loss", "epoch_env_steps", "epoch_env_steps_per_second"} <= set(values["train"])
    assert values["train"]["epoch_episode_return"] == 5.0
    assert values["validation"]["epoch_episode_return"] == 3.0


def test_csv_logger(fit, tmp_path):
    path = tmp_path / "log.csv"
    _, history = fit(keras.callbacks.CSVLogger(str(path)))
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for name in ("loss", "episode_return", "env_steps", "val_episode_return"):
        assert [float(row[name]) for row in rows] == history.history[name]


def test_csv_logger_with_evaluations_now_and_then(fit, tmp_path):
    # Keras's logger takes its columns from the first row.
    path = tmp_path / "log.csv"
    fit(keras.callbacks.CSVLogger(str(path)), validation_freq=2)
    with open(path) as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize("kind", ["dqn", "sac"])
@pytest.mark.table
def test_learning_rate_scheduler(fit, kind):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 / (epoch + 1))
    agent, history = fit(schedule, kind=kind)
    np.testing.assert_allclose(history.history[RATE], [0.5, 0.25, 0.5 / 3], rtol=1e-6)
    np.testing.assert_allclose(agent.optimizer.learning_rate, 0.5 / 3, rtol=1e-6)


def test_reduce_learning_rate_on_plateau(fit):
    reduce = keras.callbacks.ReduceLROnPlateau(
        "val_episode_return", factor=0.5, patience=1, mode="max"
    )
    agent, _ = fit(reduce)
    np.testing.assert_allclose(agent.optimizer.learning_rate, 0.1 * 0.5 * 0.5, rtol=1e-6)


def test_terminate_on_nan(make_agent, batches):
    agent = make_agent("dqn", {"run_eagerly": True})
    dataset = batches(agent, count=5).enumerate()
    dataset = dataset.map(
        lambda i, b: {**b, "reward": b["reward"] * tf.where(i == 2, np.float32(np.nan), 1.0)}
    )
    agent.fit(dataset, callbacks=[keras.callbacks.TerminateOnNaN()], verbose=0)
    assert int(agent.optimizer.iterations) == 3


def test_lambda_callback_is_called_at_every_point(fit):
    called = []
    names = [
        *("on_train_begin", "on_epoch_begin", "on_batch_begin"),
        *("on_batch_end", "on_epoch_end", "on_train_end"),
    ]
    hooks = {name: lambda *_, name=name, **__: called.append(name) for name in names}
    fit(keras.callbacks.LambdaCallback(**hooks), epochs=1)
    train, epoch, before, after = names[0], names[1], names[2], names[3]
    assert called == [train, epoch, before, after, before, after, *names[4:]]


def test_a_progress_bar_of_ones_own(fit, capsys):
    fit(keras.callbacks.ProgbarLogger(), epochs=2, verbose=1)
    printed = capsys.readouterr().out
    assert printed.count("Epoch 1/2") == 1
    assert "episode_return" in printed


def test_a_custom_callback_reaches_the_run(fit):
    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            run = self.model.run
            seen.append((run.environments.num_envs, run.replay.size > 0, run.seed))

    seen = []
    agent, _ = fit(Reader(), epochs=1, seed=4)
    assert seen == [(1, True, 4)]
    assert agent.run is None


def test_stop_training_is_obeyed(fit):
    stop = keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: setattr(stop.model, "stop_training", True)
    )
    agent, history = fit(stop)
    assert int(agent.optimizer.iterations) == 1
    assert history.epoch == [0]


@pytest.mark.regression(48)
@pytest.mark.parametrize("kind", ["dqn", "ppo"])
@pytest.mark.table
def test_backup_and_restore_goes_on_counting(make_agent, tiny_env, small_replay, tmp_path, kind):
    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise InterruptedError

    def run(agent, *callbacks):
        backup = keras.callbacks.BackupAndRestore(str(tmp_path), delete_checkpoint=False)
        collect = Collect(4, warmup_steps=32) if kind == "dqn" else CollectRollouts(8)
        note = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: begun.append(
                (int(agent.gradient_steps), int(agent.env_steps))
            )
        )
        return agent.fit(
            tiny_env(),
            epochs=4,
            steps_per_epoch=2,
            batch_size=8,
            replay=small_replay() if kind == "dqn" else None,
            callbacks=[note, collect, *callbacks, backup],
            verbose=0,
        ).history

    def make():
        arguments = {"update_epochs": 1} if kind == "ppo" else {}
        return make_agent(kind, {"run_eagerly": True}, **arguments)

    begun, first, agent = [], make(), make()
    with pytest.raises(InterruptedError):
        run(first, Break())
    history = run(agent)
    warmup, each = (32, 8) if kind == "dqn" else (0, 16)  # In an epoch of two updates.
    assert begun == [(0, warmup), (4, warmup + 2 * each + warmup)]
    assert int(first.env_steps) == warmup + 2 * each
    expected = [begun[1][1] + each, begun[1][1] + 2 * each]
    assert history["env_steps"] == expected
    assert int(agent.env_steps) == expected[-1]
    assert int(agent.gradient_steps) == 8


@pytest.mark.regression(48)
def test_weights_that_are_loaded_in_the_middle_bring_their_count(fit):
    class Load(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.env_steps.assign(500)

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.env_steps.assign(1000)

    agent, history = fit(Load(), epochs=2)
    assert history.history["env_steps"] == [1000.0, 1000.0]
    assert int(agent.env_steps) == 1000
