import functools
import os
import signal
import warnings

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Checkpoint, Collect, EpisodeCSV
from kerasrl.errors import ArgumentError, LoadError, MismatchError, SaveError


def names(directory):
    return sorted(path.name for path in directory.glob("step-*"))


ONE_STEP_DQN = functools.partial(kerasrl.DQN, n_step=1)


@pytest.fixture
def train(tmp_path):
    """Fits a small DQN, the same at every call, with a checkpoint in a directory."""

    def run(
        env="CartPole-v1",
        directory="run",
        checkpoint=None,
        callbacks=(),
        network=8,
        capacity=128,
        agent_class=ONE_STEP_DQN,
        **fit,
    ):
        keras.utils.set_random_seed(0)
        layers = [keras.Input((4,)), keras.layers.Dense(network, "tanh"), keras.layers.Dense(2)]
        agent = agent_class(keras.Sequential(layers))
        agent.compile(steps_per_execution=4)
        arguments = {"epochs": 2, "steps_per_epoch": 8, "seed": 0, "batch_size": 8, "verbose": 0}
        added = [Checkpoint(tmp_path / directory, **(checkpoint or {}))] if directory else []
        callbacks = [Collect(2, 64), *callbacks, *added]
        with kerasrl.replay.Uniform(capacity) as replay:
            agent.fit(env, callbacks=callbacks, replay=replay, **(arguments | fit))
        return agent

    return run


class StopAt(keras.callbacks.Callback):
    """Interrupts the run after a gradient step, as a signal does."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def interruptible():
    """Tests that run in the background are handed down that the signal is ignored."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def same_weights(one, other):
    return all(
        np.array_equal(ours, theirs)
        for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True)
    )


@pytest.mark.thorough
def test_a_second_fit_goes_on_where_the_first_ended(train, tmp_path):
    whole = train(directory=None, epochs=4)
    train(epochs=2)
    assert names(tmp_path / "run") == ["step-000000000008", "step-000000000016"]
    resumed = train(epochs=4)
    assert same_weights(resumed, whole)
    assert int(resumed.optimizer.iterations) == 32
    assert resumed.history.epoch == [0, 1, 2, 3]
    for name, values in whole.history.history.items():
        if name != "env_steps_per_second":
            assert resumed.history.history[name] == values


def test_what_is_kept_can_be_loaded_as_an_agent(train, tmp_path):
    agent = train()
    loaded = kerasrl.load(tmp_path / "run" / "step-000000000016" / "agent.keras")
    assert same_weights(loaded, agent)


@pytest.mark.thorough
def test_a_budget_of_environment_steps_goes_on(train):
    plan = {"epochs": None, "steps_per_epoch": None}
    whole = train(directory=None, env_steps=300, **plan)
    with pytest.raises(KeyboardInterrupt):
        train(env_steps=300, callbacks=[StopAt(40)], **plan)
    resumed = train(env_steps=300, **plan)
    assert int(resumed.env_steps) == int(whole.env_steps) == 300
    assert same_weights(resumed, whole)


def test_a_run_that_has_ended_trains_no_more(train):
    agent = train()
    with pytest.warns(UserWarning, match="has ended, after 16 gradient steps"):
        again = train()
    assert same_weights(again, agent)
    assert int(again.env_steps) == int(agent.env_steps)
    assert again.history.epoch == [0, 1]


def test_a_run_that_was_stopped_early_trains_no_more(train):
    def stop(tolerance=10.0):
        return [keras.callbacks.EarlyStopping("loss", patience=1, min_delta=tolerance)]

    agent = train(epochs=9, callbacks=stop())
    assert len(agent.history.epoch) < 9
    with pytest.warns(UserWarning, match="has ended"):
        train(epochs=9, callbacks=stop())


def test_the_states_of_callbacks_are_kept(train):
    class Own(keras.callbacks.Callback):
        """Counts, with an array beside it."""

        def __init__(self):
            super().__init__()
            self.count, self.array = 0, np.zeros(2)

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1
            self.array += epoch

        def get_state(self):
            return {"count": self.count, "array": self.array}

        def set_state(self, state):
            self.count, self.array = state["count"], state["array"]

    def callbacks():
        plateau = keras.callbacks.ReduceLROnPlateau("loss", patience=3, min_delta=10.0)
        return [Own(), Own(), plateau]

    train(epochs=2, callbacks=callbacks())
    own, other, plateau = resumed = callbacks()
    train(epochs=3, callbacks=resumed)
    assert own.count == other.count == 3
    np.testing.assert_array_equal(own.array, [3, 3])
    assert plateau.wait == 2


def test_files_of_logs_are_gone_on_with(train, tmp_path):
    def callbacks():
        return [
            keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
            EpisodeCSV(tmp_path / "episodes.csv"),
        ]

    train(epochs=2, callbacks=callbacks())
    episodes = (tmp_path / "episodes.csv").read_text()
    train(epochs=4, callbacks=callbacks())
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2", "3"]
    assert (tmp_path / "episodes.csv").read_text().startswith(episodes)


@pytest.mark.fault(48)
@pytest.mark.thorough
def test_a_damaged_checkpoint_is_passed_over(train, tmp_path):
    whole = train(directory=None, epochs=3)
    train(epochs=2)
    path = tmp_path / "run" / "step-000000000016" / "agent.keras"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="step-000000000016 is not complete"):
        resumed = train(epochs=3)
    assert same_weights(resumed, whole)
    for path in (tmp_path / "run").glob("step-*/state.json"):
        path.unlink()
    with pytest.warns(UserWarning), pytest.raises(LoadError, match="none of the 2 checkpoints"):
        train(epochs=3)


@pytest.mark.fault(38, 51)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, r"seed +1 +0"),
        ({"batch_size": 16}, r"batch_size +16 +8"),
        ({"num_envs": 2}, r"environments +2 +1"),
        ({"network": 16}, "16"),
        ({"capacity": 256}, "256"),
        ({"env": "Acrobot-v1"}, "6"),
    ],
    ids=["seed", "batch size", "number of environments", "layer", "capacity", "spaces"],
)
@pytest.mark.table
def test_another_run_is_told_apart_before_anything_is_changed(train, monkeypatch, change, told):
    train()
    agents = []
    compiled = kerasrl.DQN.compile

    @functools.wraps(compiled)
    def noted(self, **arguments):
        agents.append(self)
        compiled(self, **arguments)

    monkeypatch.setattr(kerasrl.DQN, "compile", noted)
    if change.get("env"):
        change = change | {"network": 8}
    with pytest.raises((MismatchError, kerasrl.errors.KerasRLError), match=told):
        train(**change)
    assert int(agents[0].optimizer.iterations) == 0
    assert agents[0].run is None


@pytest.mark.thorough
def test_a_learning_rate_that_has_no_effect_is_worth_a_warning(make_agent, batches, tmp_path):
    def run(rate, epochs, callbacks=()):
        agent = make_agent("dqn")
        agent.optimizer.learning_rate = rate
        callbacks = [*callbacks, Checkpoint(tmp_path / "run")]
        agent.fit(batches(agent, count=2), epochs=epochs, callbacks=callbacks, verbose=0)
        return float(agent.optimizer.learning_rate)

    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert run(0.5, 1, [halve]) == 0.25
        assert run(0.5, 2) == 0.25
        assert run(0.25, 3) == 0.25
    with pytest.warns(UserWarning, match="goes on with the learning rate 0.25 .* not with the 0.1"):
        assert run(0.1, 4) == 0.25


def test_another_agent_is_told_first(train):
    train()
    with pytest.raises(MismatchError, match="(?s)discount +0.5 +0.99.* directory of its own"):
        train(agent_class=functools.partial(kerasrl.DQN, n_step=1, discount=0.5), seed=3)


@pytest.mark.thorough
def test_how_often_and_how_many(train, tmp_path):
    train(epochs=5, checkpoint={"every_epochs": 2, "max_to_keep": 3})
    assert names(tmp_path / "run") == [f"step-{step:012d}" for step in (16, 32, 40)]
    train(directory="none", epochs=2, checkpoint={"every_epochs": None})
    assert names(tmp_path / "none") == ["step-000000000016"]
    timed = {"every_epochs": None, "every_seconds": 1e-9, "max_to_keep": 99}
    train(directory="time", epochs=2, checkpoint=timed)
    assert names(tmp_path / "time") == [f"step-{step:012d}" for step in (4, 8, 12, 16)]


@pytest.mark.thorough
def test_a_run_goes_on_from_within_an_epoch(train, tmp_path):
    whole = train(directory=None, epochs=3)
    for stop_at in (4, 12, 16):
        with pytest.raises(KeyboardInterrupt):
            train(epochs=3, callbacks=[StopAt(stop_at)])
        assert names(tmp_path / "run")[-1] == f"step-{stop_at:012d}"
    resumed = train(epochs=3)
    assert same_weights(resumed, whole)
    assert resumed.history.history["loss"] == whole.history.history["loss"]
    assert resumed.history.history["episode_return"] == whole.history.history["episode_return"]


@pytest.mark.fault(50)
def test_the_replay_may_be_left_out(train, tmp_path):
    agent = train(checkpoint={"replay": False})
    assert not list((tmp_path / "run").glob("step-*/replay"))
    with pytest.warns(UserWarning, match="no contents of the replay"):
        resumed = train(epochs=3, checkpoint={"replay": False})
    assert int(resumed.optimizer.iterations) == 24
    assert int(resumed.env_steps) == int(agent.env_steps) + 64 + 16


@pytest.mark.parametrize("length", [5, 50])
@pytest.mark.table
def test_where_the_state_of_an_environment_is_unknown_new_episodes_begin(train, tiny_env, length):
    made = []

    def make():
        made.append(tiny_env(length=length))
        return made[-1]

    train(make)
    resumed = train(make, epochs=3)
    assert int(resumed.optimizer.iterations) == 24
    assert int(resumed.env_steps) == 64 + 2 * 24
    assert made[1].seeds[0] == 0
    assert made[1].seeds[1] not in (0, None)  # Other episodes than those that it began with.


@pytest.mark.fault(47)
@pytest.mark.thorough
def test_a_checkpoint_that_cannot_be_written(train, tmp_path, monkeypatch):
    train()
    kept = names(tmp_path / "run")

    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kerasrl.checkpoints.checkpoint.write_nest", full)
    with pytest.raises(SaveError, match=r"step-000000000024 could not be written: No space left"):
        train(epochs=3)
    assert names(tmp_path / "run") == kept
    with pytest.warns(UserWarning, match="no checkpoint was kept"):
        train(epochs=3, checkpoint={"on_error": "warn"})
    monkeypatch.undo()
    assert int(train(epochs=3).optimizer.iterations) == 24


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"every_epochs": 0}, "every_epochs"),
        ({"every_seconds": 0}, "every_seconds"),
        ({"every_seconds": float("nan")}, "every_seconds"),
        ({"max_to_keep": 0}, "max_to_keep"),
        ({"on_error": "ignore"}, "on_error"),
    ],
)
def test_arguments_out_of_range(tmp_path, arguments, told):
    with pytest.raises(ArgumentError, match=told):
        Checkpoint(tmp_path, **arguments)


def test_two_runs_do_not_share_a_directory(train, tmp_path):
    class Second(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with pytest.raises(ArgumentError, match="another run keeps its checkpoints"):
                train(callbacks=[])
            self.ran = True

    second = Second()
    train(callbacks=[second])
    assert second.ran


@pytest.mark.thorough
def test_an_offline_run_goes_on(make_agent, batches, tmp_path):
    def run(epochs, directory):
        agent = make_agent("dqn")
        agent.fit(
            batches(agent, count=32),
            epochs=epochs,
            steps_per_epoch=8,
            callbacks=[Checkpoint(tmp_path / directory)],
            verbose=0,
        )
        return agent

    whole = run(4, "whole")
    run(2, "broken")
    assert same_weights(run(4, "broken"), whole)


def test_an_environment_that_fails_leaves_the_last_good_checkpoint(train, tiny_env, tmp_path):
    with pytest.raises(OSError, match="the simulator crashed"):
        train(lambda: tiny_env(fail_at=64 + 16 + 5))
    assert names(tmp_path / "run") == ["step-000000000008"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert int(train(tiny_env).optimizer.iterations) == 16
