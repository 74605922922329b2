import time

import pytest

from kerasrl.callbacks import Collect, Evaluation, StepsPerSecond


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what is added to it."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(time, "perf_counter", lambda: Clock.now)
    return Clock


def run(callback, clock, batches, seconds):
    """An epoch of executions, each with its first and last batch; returns what each logged."""
    callback.on_epoch_begin(0)
    found = []
    for first, last in batches:
        callback.on_train_batch_begin(first)
        clock.now += seconds
        logs = {}
        callback.on_train_batch_end(last, logs)
        found.append(logs["steps_per_second"])
    return found


def test_the_mean_of_the_epoch_so_far(clock):
    callback = StepsPerSecond()
    assert run(callback, clock, [(0, 0), (1, 1), (2, 2)], 0.5) == [2.0, 2.0, 2.0]
    clock.now += 1000  # An evaluation.
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {"steps_per_second": 2.0}
    assert run(callback, clock, [(0, 0)], 0.25) == [4.0]


def test_an_execution_of_several_steps_counts_them_all(clock):
    # The last execution of an epoch may be a shorter one.
    found = run(StepsPerSecond(), clock, [(0, 3), (4, 7), (8, 9)], 2.0)
    assert found == [2.0, 2.0, 10 / 6]


def test_an_epoch_without_steps_logs_nothing(clock):
    callback, logs = StepsPerSecond(), {}
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, logs)
    assert logs == {}


def test_the_history_of_a_fit(make_agent, tiny_env, clock):
    """Every step of the environment takes a second, and the evaluation takes no part."""

    class Slow(tiny_env):
        def step(self, action):
            clock.now += 1.0
            return super().step(action)

    history = make_agent("dqn", {"steps_per_execution": 4}).fit(
        Slow(),
        epochs=2,
        steps_per_epoch=10,
        batch_size=4,
        callbacks=[Collect(2, warmup_steps=32), Evaluation(Slow()), StepsPerSecond()],
        verbose=0,
    )
    # 10 gradient steps and the 20 environment steps that they call for.
    assert history.history["steps_per_second"] == [0.5, 0.5]
