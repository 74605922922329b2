"""Going on from breaks at the end of an epoch, and what must be the same to go on."""

import os
import signal

import gymnasium as gym
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Checkpoint, Collect, Evaluation
from kerasrl.errors import ArgumentError, ArgumentTypeError, MismatchError


@pytest.fixture(autouse=True)
def interruptible():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def train(make_agent, tmp_path):
    """Fits a small DQN for three epochs of 8 steps, with checkpoints in a directory."""

    def run(directory, callbacks=(), env="CartPole-v1", collect=1, **fit):
        agent = make_agent("dqn", build=False)
        agent.compile(keras.optimizers.SGD(0.1), steps_per_execution=4)
        checkpoint = Checkpoint(tmp_path / directory, every_epochs=None)
        callbacks = [Collect(collect, 64), *callbacks, checkpoint]
        arguments = {"epochs": 3, "steps_per_epoch": 8, "batch_size": 8, "seed": 0, "verbose": 0}
        agent.fit(env, callbacks=callbacks, **(arguments | fit))
        return agent

    return run


def same_weights(one, other):
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


class SignalAt(keras.callbacks.Callback):
    """Sends a signal in a hook, when the optimizer has taken so many steps."""

    def __init__(self, hook, step):
        super().__init__()
        self._step = step
        setattr(self, hook, self._signal)

    def _signal(self, number, logs=None):
        if int(self.model.optimizer.iterations) == self._step:
            os.kill(os.getpid(), signal.SIGINT)


class Interrupting(gym.Wrapper):
    """Sends a signal at its third step."""

    def __init__(self):
        super().__init__(gym.make("CartPole-v1"))
        self._left = 3

    def step(self, action):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self.env.step(action)


@pytest.mark.fault(44)
@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.thorough
def test_a_run_goes_on_after_a_break_in_its_evaluation(train, verbose):
    def evaluation(env):
        return [Evaluation(env, episodes=2, seed=5), kerasrl.callbacks.StepsPerSecond()]

    whole = train("whole", evaluation("CartPole-v1"))
    with pytest.raises(KeyboardInterrupt):
        train("broken", evaluation(Interrupting), verbose=verbose)
    resumed = train("broken", evaluation("CartPole-v1"), verbose=verbose)
    assert same_weights(resumed, whole)
    for name in ("loss", "val_episode_return", "episode_return"):
        assert resumed.history.history[name] == whole.history.history[name]


def callbacks_that_count():
    return [
        keras.callbacks.EarlyStopping("env_steps", mode="min", patience=2),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
    ]


@pytest.mark.fault(49)
@pytest.mark.parametrize(
    ("hook", "step", "first"),
    [
        ("on_epoch_begin", 8, False),
        ("on_train_batch_end", 8, True),
        ("on_train_batch_end", 12, False),
        ("on_epoch_end", 8, True),
        ("on_epoch_end", 8, False),
    ],
)
@pytest.mark.thorough
def test_no_callback_does_anything_twice(train, hook, step, first):
    whole = train("whole", callbacks_that_count(), epochs=9)
    assert whole.history.epoch == [0, 1, 2]
    breaks, others = [SignalAt(hook, step)], callbacks_that_count()
    with pytest.raises(KeyboardInterrupt):
        train("broken", breaks + others if first else others + breaks, epochs=9)
    resumed = train("broken", callbacks_that_count(), epochs=9)
    assert resumed.history.epoch == [0, 1, 2]
    assert float(resumed.optimizer.learning_rate) == float(whole.optimizer.learning_rate)
    assert same_weights(resumed, whole)


class Ends(keras.callbacks.Callback):
    """Fails when it ends without having begun."""

    def on_train_begin(self, logs=None):
        self.begun = True

    def on_train_end(self, logs=None):
        assert self.begun


@pytest.mark.fault(44)
def test_a_break_while_collecting_for_the_first_time(train, tmp_path):
    callbacks = [Ends(), keras.callbacks.CSVLogger(tmp_path / "log.csv")]
    with pytest.raises(KeyboardInterrupt):
        train("broken", callbacks, env=Interrupting)
    assert list((tmp_path / "broken").glob("step-*")) == []


@pytest.mark.parametrize("steps_per_epoch", [None, 8])
@pytest.mark.parametrize("step", [8, 12])
@pytest.mark.thorough
def test_a_dataset_goes_on_with_the_next_batch(
    make_agent, batches, tmp_path, steps_per_epoch, step
):
    def run(directory, *callbacks):
        agent = make_agent("dqn")
        callbacks = [*callbacks, Checkpoint(tmp_path / directory)]
        agent.fit(
            batches(agent, count=8),
            epochs=3,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            verbose=0,
        )
        return agent

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", SignalAt("on_train_batch_end", step))
    resumed = run("broken")
    assert int(resumed.optimizer.iterations) == 24
    assert same_weights(resumed, whole)


class Asks(keras.callbacks.Callback):
    """Asks for a checkpoint after a gradient step."""

    def __init__(self, directory):
        super().__init__()
        self._directory = directory

    def on_train_batch_end(self, batch, logs=None):
        (checkpoint,) = (c for c in self.model.run.callbacks if isinstance(c, Checkpoint))
        if int(self.model.optimizer.iterations) == 12:
            checkpoint.save()
        if int(self.model.optimizer.iterations) == 16:
            assert [path.name for path in self._directory.glob("step-*")] == ["step-000000000012"]
            raise OSError("enough")


@pytest.mark.thorough
def test_a_callback_may_ask_for_a_checkpoint(train, tmp_path):
    with pytest.raises(OSError, match="enough"):
        train("broken", [Asks(tmp_path / "broken")])
    assert same_weights(train("broken"), train("whole"))


def test_a_run_has_one_checkpoint(train, tmp_path):
    with pytest.raises(ArgumentError, match="one Checkpoint; received 2"):
        train("one", [Checkpoint(tmp_path / "two")])


def test_callbacks_are_instances(train):
    with pytest.raises(ArgumentTypeError, match=r"the class Collect. Write Collect\(...\)"):
        train("one", [Collect])


def test_the_working_directory_may_change(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    away = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: os.chdir("elsewhere"))
    checkpoint = Checkpoint("run")
    for callbacks in ([away], []):
        monkeypatch.chdir(tmp_path)
        train("other", [*callbacks], epochs=1)
    assert checkpoint.directory.is_absolute()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_pace_is_another_run(train):
    train("run", epochs=1)
    with pytest.raises(MismatchError, match=r"env_steps_per_update +4.0 +1.0"):
        train("run", collect=4)


class OnlyGet(gym.Wrapper):
    def get_state(self):
        raise AssertionError("of no use without set_state")


@pytest.mark.parametrize("wrapper", [OnlyGet, gym.wrappers.RecordEpisodeStatistics])
@pytest.mark.table
def test_environments_made_otherwise_begin_new_episodes(train, wrapper):
    train("run", epochs=1)
    with pytest.warns(UserWarning, match=f"made of .*{wrapper.__name__}.* new episodes begin"):
        agent = train("run", env=lambda: wrapper(gym.make("CartPole-v1")))
    assert int(agent.optimizer.iterations) == 24


def test_a_run_that_somebody_stopped_goes_on(train):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    train("run", [Stops()])  # After 4 of 8 steps, by which Keras takes the epoch to have ended.
    assert int(train("run").optimizer.iterations) == 4 + 8 + 8
