"""What `compile(steps_per_execution="auto")` chooses, and that only speed depends on it."""

import signal

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Checkpoint, Collect, EpisodeCSV, Evaluation, LinearSchedule
from kerasrl.compatibility import steps_per_execution
from kerasrl.training.executions import period

# By agent: the budget, and what is passed on to `fit`.
RUNS = {
    "dqn": (160, {"num_envs": 1}),
    "ddpg": (80, {"num_envs": 1}),
    "td3": (80, {"num_envs": 2}),
    "d4pg": (80, {"num_envs": 1}),
    "sac": (80, {"epochs": 3}),
    "a2c": (320, {"num_envs": 2}),
    "ppo": (4_096, {"epochs": 2}),
    "reinforce": (60, {}),
}
OFF_POLICY = ("dqn", "ddpg", "td3", "d4pg", "sac")


class Noting(keras.callbacks.Callback):
    """Notes how many steps an execution has, without a hook for batches."""

    def on_train_begin(self, logs=None):
        self.steps = steps_per_execution(self.model)


def run(make_agent, tiny_env, kind, compiled, *callbacks, **arguments):
    agent = make_agent(kind, compiled)
    env_steps, chosen = RUNS[kind]
    if kind in OFF_POLICY:
        callbacks = (*callbacks, Collect(1, warmup_steps=32))
        chosen = {**chosen, "batch_size": 4}
    env = lambda: tiny_env(length=5, action_space=agent.action_space)  # noqa: E731
    arguments = {"env_steps": env_steps, "verbose": 0, "seed": 1} | chosen | arguments
    noting = Noting()
    history = agent.fit(env, callbacks=[*callbacks, noting], **arguments)
    return agent, history, noting.steps


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.table
def test_it_is_the_default_and_changes_no_number(make_agent, tiny_env, kind):
    one, expected, steps = run(make_agent, tiny_env, kind, {"steps_per_execution": 1})
    assert steps == 1
    other, received, steps = run(make_agent, tiny_env, kind, {})
    assert steps == {"a2c": 1, "reinforce": 1, "ppo": 64}.get(kind, 16)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert received.epoch == expected.epoch
    assert set(received.history) == set(expected.history)
    for name in set(expected.history) - {"steps_per_second", "env_steps_per_second"}:
        np.testing.assert_array_equal(received.history[name], expected.history[name], name)


class EveryStep(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)


def test_a_callback_of_ones_own_is_called_after_every_step(make_agent, tiny_env, capsys):
    own = EveryStep()
    _, _, steps = run(make_agent, tiny_env, "dqn", {}, own, verbose=2, epochs=2)
    assert steps == 1
    assert own.batches == [*range(64), *range(len(own.batches) - 64)]  # Each step of two epochs.
    said = "steps_per_execution is 1, as EveryStep has a hook for every batch."
    assert capsys.readouterr().out.count(said) == 1


def test_the_number_is_printed_once_unless_all_is_silent(make_agent, tiny_env, capsys):
    run(make_agent, tiny_env, "dqn", {}, verbose=2)
    assert capsys.readouterr().out.count("steps_per_execution is 16.") == 1
    run(make_agent, tiny_env, "dqn", {}, verbose=0)
    assert "steps_per_execution" not in capsys.readouterr().out


def test_a_collector_that_hooks_into_batches_is_ones_own(make_agent, tiny_env):
    class Hooked(Collect):
        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)

    agent = make_agent("dqn")
    noting = Noting()
    callbacks = [Hooked(1, 32), noting]
    agent.fit(tiny_env(), steps_per_epoch=16, batch_size=4, callbacks=callbacks, verbose=0)
    assert noting.steps == 1


def lambda_callback(**hooks):
    return keras.callbacks.LambdaCallback(**hooks)


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (lambda _: Collect(), 16),
        (lambda _: Collect(updates_per_turn=5), 5),
        (lambda _: LinearSchedule("epsilon", 1.0, 0.1, env_steps=9), 0),
        (lambda _: LinearSchedule("epsilon", 1.0, 0.1, steps=9), 1),
        (lambda path: Checkpoint(path), 0),
        (lambda path: EpisodeCSV(path / "episodes.csv"), 0),
        (lambda _: Evaluation("CartPole-v1"), 0),
        (lambda _: keras.callbacks.EarlyStopping(), 0),
        (lambda _: keras.callbacks.ReduceLROnPlateau(), 0),
        (lambda _: keras.callbacks.TerminateOnNaN(), 0),
        (lambda _: lambda_callback(on_epoch_end=print), 0),
        (lambda _: lambda_callback(on_train_batch_end=print), 1),
        (lambda path: keras.callbacks.CSVLogger(path / "log.csv"), 0),
        (lambda path: keras.callbacks.TensorBoard(path), 0),
        (lambda path: keras.callbacks.TensorBoard(path, update_freq="batch"), 1),
        (lambda path: keras.callbacks.TensorBoard(path, update_freq=6), 6),
        (lambda path: keras.callbacks.ModelCheckpoint(f"{path}/a.keras"), 0),
        (lambda path: keras.callbacks.ModelCheckpoint(f"{path}/a.keras", save_freq=4), 4),
        (lambda path: keras.callbacks.BackupAndRestore(path, save_freq=6), 6),
    ],
)
def test_how_often_callbacks_act(callback, expected, tmp_path):
    assert period(callback(tmp_path), 100) == expected


def test_it_is_saved_as_what_was_asked_for(make_agent, tiny_env, tmp_path):
    agent, _, _ = run(make_agent, tiny_env, "dqn", {})
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    noting = Noting()
    arguments = {"steps_per_epoch": 16, "batch_size": 4, "callbacks": [Collect(1, 32), noting]}
    loaded.fit(tiny_env(), verbose=0, **arguments)
    assert noting.steps == 16


def test_single_batches_may_be_trained_on_before_and_after(make_agent, tiny_env, batches):
    agent = make_agent("dqn")
    batch = next(iter(batches(agent, count=1)))
    agent.train_on_batch(batch)
    agent.fit(tiny_env(), steps_per_epoch=16, batch_size=4, callbacks=[Collect(1, 32)], verbose=0)
    agent.train_on_batch(batch)
    assert int(agent.gradient_steps) == 18


def test_a_run_is_gone_on_with_from_within_an_execution(make_agent, tiny_env, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 9:
                signal.raise_signal(signal.SIGINT)

    def fit(*callbacks):
        agent, noting = make_agent("dqn"), Noting()
        callbacks = [*callbacks, Collect(1, 32), Checkpoint(tmp_path), noting]
        arguments = {"steps_per_epoch": 32, "epochs": 2, "batch_size": 4, "verbose": 0, "seed": 1}
        agent.fit(tiny_env(), callbacks=callbacks, **arguments)
        return agent, noting.steps

    with pytest.raises(KeyboardInterrupt):
        fit(Stop())
    agent, steps = fit()
    assert steps == 2
    assert int(agent.gradient_steps) == 64


@pytest.mark.parametrize(("count", "expected"), [(6, 6), (None, 64)])
@pytest.mark.table
def test_a_dataset_ends_between_executions(make_agent, batches, count, expected):
    agent, noting = make_agent("dqn"), Noting()
    dataset = batches(agent, count=6)
    dataset = dataset if count else dataset.repeat()
    agent.fit(dataset, steps_per_epoch=6, callbacks=[noting], verbose=0)
    assert noting.steps == expected
    assert int(agent.gradient_steps) == 6


def test_a_dataset_of_unknown_length_is_learned_from_step_by_step(make_agent, batches):
    agent, noting = make_agent("dqn"), Noting()
    dataset = batches(agent, count=6).filter(lambda _: True)
    agent.fit(dataset, callbacks=[noting], verbose=0)
    assert noting.steps == 1
    assert int(agent.gradient_steps) == 6


@pytest.mark.parametrize("compiled", [{}, {"steps_per_execution": 4}])
@pytest.mark.table
def test_batches_are_predicted_between_executions(make_agent, tiny_env, compiled):
    class Predicting(Collect):
        def act(self, observation):
            rows = np.repeat(observation[0], 70, axis=0)
            on_batch = self.model.predict_on_batch(rows)
            np.testing.assert_array_equal(self.model.predict(rows, verbose=0), on_batch)
            assert len(on_batch) == 70
            return super().act(observation)

    agent = make_agent("dqn", compiled)
    agent.predict_on_batch(np.zeros((2, 4), np.float32))
    callbacks = [Predicting(1, warmup_steps=32, updates_per_turn=4)]
    agent.fit(tiny_env(), steps_per_epoch=8, batch_size=4, callbacks=callbacks, verbose=0)
    assert int(agent.gradient_steps) == 8
