"""Ctrl-C and SIGTERM, in processes of their own."""

import os
import signal
import threading
import time

import keras
import leftovers
import pytest

from kerasrl.callbacks import Collect

SCRIPT = """
import os, signal, sys, threading, time
import gymnasium as gym, keras, kerasrl

# Tests that run in the background would hand down that the signal is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Env(gym.Wrapper):
    def reset(self, **arguments):
        WHEN_RESET
        return super().reset(**arguments)

    def close(self):
        print("closed the environment", flush=True)
        super().close()

class Tell(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 23:
            server = getattr(self.model.run.replay._table, "server", None)
            print("port", server.port if server else 0, flush=True)

    def on_epoch_end(self, epoch, logs=None):
        print("epoch end", flush=True)

    def on_train_end(self, logs=None):
        print("train end at", int(self.model.optimizer.iterations), flush=True)

agent = kerasrl.KIND()
agent.compile(steps_per_execution=TOGETHER)
env = ENVIRONMENT
try:
    callbacks = [Tell(), kerasrl.callbacks.COLLECT]
    agent.fit(env, steps_per_epoch=STEPS, epochs=10_000, callbacks=callbacks,
              validation_data=VALIDATION, verbose=0)
except BaseException as error:
    threads = [t.name for t in threading.enumerate() if type(t) != threading._DummyThread]
    print("raised", type(error).__name__, agent.run, threads, flush=True)
    raise
"""


class Run:
    """A script that is fitting."""

    def __init__(self, run_python, **replaced):
        defaults = {
            "KIND": "DQN",
            "COLLECT": "Collect(warmup_steps=64)",
            "STEPS": "1_000_000",
            "TOGETHER": "4",
            "VALIDATION": "None",
            "WHEN_RESET": "pass",
            "ENVIRONMENT": "lambda: Env(gym.make('CartPole-v1'))",
        }
        script = SCRIPT
        for name, value in (defaults | replaced).items():
            script = script.replace(name, value)
        self.process = run_python.start(script)
        self.lines = []

    def wait_for(self, beginning):
        while not (self.lines and self.lines[-1].startswith(beginning)):
            self.lines.append(self.process.stdout.readline())
            assert self.lines[-1], "".join(self.lines)
        return self.lines[-1]

    def end(self):
        begin = time.monotonic()
        output = self.process.communicate(timeout=30)[0]
        return "".join(self.lines) + output, time.monotonic() - begin


@pytest.fixture
def start(run_python):
    """Starts scripts, and ends them whatever happens."""
    runs = []

    def make(**replaced):
        runs.append(Run(run_python, **replaced))
        return runs[-1]

    yield make
    for run in runs:
        run.process.kill()
        run.process.wait()
        run.process.stdout.close()


@pytest.mark.fault(44, 45)
@pytest.mark.parametrize(
    ("kind", "collect"),
    [("DQN", "Collect(warmup_steps=64)"), ("A2C", "CollectRollouts(32)")],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.thorough
def test_the_first_signal_ends_the_run_after_the_step(start, number, kind, collect):
    together = 4 if kind == "DQN" else 1
    run = start(KIND=kind, COLLECT=collect, TOGETHER=str(together))
    port = int(run.wait_for("port").split()[1])
    assert port == 0 or leftovers.is_listened_on(port)
    run.process.send_signal(number)
    output, seconds = run.end()
    (ended,) = [line for line in output.splitlines() if line.startswith("train end")]
    assert int(ended.split()[-1]) % together == 0  # Whole executions only.
    assert output.count("closed the environment") == 1
    if number == signal.SIGTERM:
        assert "raised SystemExit None ['MainThread']" in output
        assert run.process.returncode == 143
    else:
        assert "raised KeyboardInterrupt None ['MainThread']" in output
        assert run.process.returncode == -signal.SIGINT
    assert not leftovers.is_listened_on(port)
    assert seconds < 10


@pytest.mark.fault(44)
def test_the_second_signal_stops_at_once(start):
    stuck = "if agent.run and agent.env_steps > 64: print('stuck', flush=True); time.sleep(60)"
    run = start(WHEN_RESET=stuck)
    run.wait_for("stuck")
    run.process.send_signal(signal.SIGINT)
    run.wait_for("Ending in order")  # Two signals that come at once may be told as one.
    time.sleep(0.5)
    assert run.process.poll() is None  # The first waits for the environment.
    run.process.send_signal(signal.SIGINT)
    output, seconds = run.end()
    assert "raised KeyboardInterrupt None ['MainThread']" in output
    assert "train end" not in output
    assert "closed the environment" in output
    assert seconds < 10


@pytest.mark.fault(45)
def test_a_signal_ends_an_evaluation(start):
    stuck = "if agent.env_steps > 64: print('evaluating', flush=True); time.sleep(60)"
    evaluated = "lambda: Env(gym.make('CartPole-v1'))"
    run = start(WHEN_RESET=stuck, VALIDATION=evaluated, STEPS="4")
    run.wait_for("evaluating")
    run.process.send_signal(signal.SIGTERM)
    output, seconds = run.end()
    assert "train end at 4" in output
    assert "epoch end" not in output
    assert output.count("closed the environment") == 2
    assert run.process.returncode == 143
    assert seconds < 10


@pytest.mark.fault(28, 45)
def test_sigterm_is_sent_to_workers_too(start):
    one = "lambda: gym.make('CartPole-v1')"
    run = start(ENVIRONMENT=f"lambda: gym.vector.AsyncVectorEnv([{one}] * 2, context='spawn')")
    run.wait_for("port")
    os.killpg(run.process.pid, signal.SIGTERM)
    output, seconds = run.end()
    assert "train end at" in output
    assert run.process.returncode == 143
    assert seconds < 10


@pytest.mark.fault(44)
@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.thorough
def test_ctrl_c_in_a_terminal_is_sent_to_workers_too(start, context):
    one = "lambda: gym.make('CartPole-v1')"
    workers = f"gym.vector.AsyncVectorEnv([{one}] * 2, context={context!r})"
    run = start(ENVIRONMENT=f"lambda: {workers}")
    run.wait_for("port")
    os.killpg(run.process.pid, signal.SIGINT)
    output, seconds = run.end()
    assert "train end at" in output
    assert "raised KeyboardInterrupt None ['MainThread']" in output
    assert seconds < 10


SHORT = {"steps_per_epoch": 8, "batch_size": 4, "verbose": 0}


class Handlers(keras.callbacks.Callback):
    """Notes who handles the signals."""

    def on_train_begin(self, logs=None):
        self.found = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.fault(54)
def test_another_thread_installs_no_handlers(make_agent, tiny_env):
    agent, handlers = make_agent("dqn"), Handlers()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    arguments = {"callbacks": [handlers, Collect(warmup_steps=32)], **SHORT}
    thread = threading.Thread(target=agent.fit, args=(tiny_env(),), kwargs=arguments)
    thread.start()
    thread.join(60)
    assert handlers.found == before


def test_handlers_that_are_the_users_own_stay(make_agent, tiny_env):
    def own(number, frame):
        raise RuntimeError("the user's own")

    previous = signal.signal(signal.SIGTERM, own)
    try:
        handlers = Handlers()
        agent = make_agent("dqn")
        agent.fit(tiny_env(), callbacks=[handlers, Collect(warmup_steps=32)], **SHORT)
        assert handlers.found[1] is own
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_the_handlers_of_a_run_go_with_it(make_agent, tiny_env):
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        handlers = Handlers()
        agent = make_agent("dqn")
        agent.fit(tiny_env(), callbacks=[handlers, Collect(warmup_steps=32)], **SHORT)
        assert handlers.found[0] is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, previous)
