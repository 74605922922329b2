"""What a worker process of an `AsyncVectorEnv` leads to that fails, dies or hangs."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from kerasrl import envs
from kerasrl.envs import async_workers
from kerasrl.errors import EnvError, EnvWorkerError
from kerasrl.testing import CountingEnv

pytestmark = [
    pytest.mark.filterwarnings("ignore:the workers of"),
    pytest.mark.filterwarnings("ignore:.*ERROR"),  # Gymnasium tells what workers raised.
]

GO_ON, KILL, HANG, STOP, FAIL, FAIL_UNPICKLABLE, FAIL_OTHERWISE, EXIT, HANG_AT_RESET = range(9)
TESTS = os.getpid()
SHORT = envs.FaultPolicy(env_timeout=1.0)


class OddError(Exception):
    """An error that cannot be made of another one."""

    def __init__(self, code, text):
        super().__init__(code, text)


class Worker(CountingEnv):
    """Does to its own process what its action says."""

    def __init__(self, hang_at_close=False):
        super().__init__((99,), action_space=gym.spaces.Discrete(9))
        self.hang_at_close = hang_at_close

    def reset(self, **arguments):
        if self.actions and self.actions[-1] == HANG_AT_RESET:
            time.sleep(100)
        return super().reset(**arguments)

    def step(self, action):
        if action == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        if action == HANG:
            time.sleep(100)
        if action == EXIT:
            raise SystemExit(3)
        if action == FAIL:
            raise OSError("the simulator crashed")
        if action == FAIL_OTHERWISE:
            raise OddError(7, "no such joint")
        if action == FAIL_UNPICKLABLE:
            raise ValueError(threading.Lock())
        return super().step(action)

    def close(self):
        if self.hang_at_close and os.getpid() != TESTS:
            time.sleep(100)


def vector(count=3, env=Worker, **arguments):
    return AsyncVectorEnv([env] * count, context="fork", **arguments)


@pytest.fixture
def given():
    """Makes vector environments that are the user's own, and closes them as the error says."""
    with contextlib.ExitStack() as stack:

        def make(*args, **arguments):
            env = vector(*args, **arguments)
            stack.callback(env.close, terminate=True)
            return env

        yield make


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def pids(environments):
    return [process.pid for process in environments._env.unwrapped.processes]


def notes(error):
    return getattr(error, "__notes__", [])


@contextlib.contextmanager
def within(seconds):
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


def after_one_step(environments, action):
    environments.reset(seed=5)
    environments.step(np.array([GO_ON] * 3))
    return environments.step(np.array([GO_ON, action, GO_ON]))


def messages_kept_by(error):
    """The buffers of messages in the frames of an error's traceback, and of what it comes from."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            yield from (v for v in frame.f_locals.values() if isinstance(v, memoryview))
        error = error.__cause__ or error.__context__


def test_an_error_keeps_no_message_that_a_dead_worker_was_sent():
    with contextlib.closing(envs.make(vector, 1)) as environments:
        environments.reset(seed=5)
        for process in environments._env.unwrapped.processes:
            process.kill()
            process.join()
        with pytest.raises(EnvWorkerError) as caught:
            environments.step(np.array([GO_ON] * 3))
    assert isinstance(caught.value.__cause__ or caught.value.__context__, BrokenPipeError)
    assert list(messages_kept_by(caught.value)) == []


def test_an_error_of_workers_that_do_not_start_keeps_none_either():
    def broken():
        sender, receiver = multiprocessing.Pipe()
        receiver.close()
        sender.send("begin")

    with pytest.raises(BrokenPipeError) as caught:
        envs.make(broken, 1)
    assert list(messages_kept_by(caught.value)) == []


@pytest.mark.fault(28)
@pytest.mark.parametrize(
    ("action", "code"),
    [(KILL, r"-9 \(SIGKILL, which the kernel sends when memory runs out\)"), (EXIT, "3")],
    ids=["killed", "exits"],
)
@pytest.mark.parametrize("shared_memory", [True, False])
@pytest.mark.table
def test_a_worker_that_dies(action, code, shared_memory):
    environments = envs.make(lambda: vector(shared_memory=shared_memory))
    workers = pids(environments)
    with within(5), pytest.raises(EnvWorkerError) as raised:
        after_one_step(environments, action)
    raised.match(rf"^env worker 1 \(pid {workers[1]}\) died, exit code {code}[.]")
    assert isinstance(raised.value, RuntimeError)
    assert notes(raised.value) == [f"environment 1, episode 1, step 2, action {action}"]
    with within(5):
        environments.close()
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(28)
@pytest.mark.parametrize("call", ["step", "reset"])
@pytest.mark.table
def test_a_worker_that_has_died_in_the_meantime(call):
    environments = envs.make(vector)
    environments.reset()
    workers = pids(environments)
    os.kill(workers[2], signal.SIGKILL)
    os.kill(workers[0], signal.SIGTERM)
    for pid in (workers[0], workers[2]):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    dead = rf"env worker 0 \(pid {workers[0]}\) died, exit code -15 \(SIGTERM\)[.] env worker 2 "
    with within(5), pytest.raises(EnvWorkerError, match=dead):
        environments.step(np.zeros(3, int)) if call == "step" else environments.reset()
    with within(5):
        environments.close()
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(28)
def test_a_death_is_told_of_while_another_worker_hangs(monkeypatch):
    monkeypatch.setattr(async_workers, "_SECONDS_TO_CLOSE", 0.3)
    environments = envs.make(vector)
    environments.reset()
    with (
        within(5),
        contextlib.closing(environments),
        pytest.raises(EnvWorkerError, match="^env worker 2 .* died, exit code -9"),
    ):
        environments.step(np.array([HANG, GO_ON, KILL]))


@pytest.mark.fault(29)
@pytest.mark.parametrize("action", [HANG, STOP], ids=["sleeps", "is stopped"])
@pytest.mark.table
def test_a_worker_that_is_stuck(action):
    environments = envs.make(vector, 1, SHORT)
    workers = pids(environments)
    rule = rf"^env worker 1 \(pid {workers[1]}\) did not answer within env_timeout=1.0 seconds"
    with within(5), pytest.raises(EnvWorkerError, match=rule) as raised:
        after_one_step(environments, action)
    assert notes(raised.value) == [f"environment 1, episode 1, step 2, action {action}"]
    with within(5):
        environments.close()
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(29)
def test_several_that_are_stuck_in_a_reset():
    environments = envs.make(vector, 1, SHORT)
    environments.reset()
    environments.step(np.array([HANG_AT_RESET, GO_ON, HANG_AT_RESET]))
    with within(5), pytest.raises(EnvWorkerError, match=r"^env worker 0 .* and env worker 2 "):
        environments.reset()
    with within(5):
        environments.close()


@pytest.mark.fault(28)
@pytest.mark.fault(29)
@pytest.mark.parametrize(("action", "rule"), [(KILL, "died"), (HANG, "did not answer")])
@pytest.mark.table
def test_wrappers_hide_nothing(action, rule):
    wrapped = lambda: gym.wrappers.vector.RecordEpisodeStatistics(vector())  # noqa: E731
    environments = envs.make(wrapped, 1, SHORT)
    workers = pids(environments)
    with within(5), pytest.raises(EnvWorkerError, match=f"^env worker 1 .* {rule}"):
        after_one_step(environments, action)
    with within(5):
        environments.close()
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(28)
@pytest.mark.fault(29)
@pytest.mark.parametrize("action", [KILL, HANG, STOP])
@pytest.mark.table
def test_what_was_given_stays_open_and_can_be_closed(given, action):
    env = given()
    environments = envs.make(env, 1, SHORT)
    with pytest.raises(EnvWorkerError) as raised:
        after_one_step(environments, action)
    environments.close()
    assert notes(raised.value)[0].endswith("stays open: call its close(terminate=True)")
    workers = pids(environments)
    assert not gone(workers[0])
    assert not {"step_wait", "reset_wait"} & set(vars(env))
    if action == STOP:  # SIGTERM, which Gymnasium sends, waits until it goes on.
        os.kill(workers[1], signal.SIGCONT)
    with within(5):
        env.close(terminate=True)
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(28)
def test_what_was_given_can_be_closed_whichever_of_its_workers_died(given):
    env = given()
    environments = envs.make(env)
    environments.reset()
    with pytest.raises(EnvWorkerError, match="^env worker 0 "):
        environments.step(np.array([KILL, GO_ON, GO_ON]))
    environments.close()
    with within(5):
        env.close(terminate=True)
    assert all(gone(pid) for pid in pids(environments))


@pytest.mark.fault(28)
def test_what_was_given_and_has_failed_before(given):
    env = given()
    with pytest.raises(OSError):
        after_one_step(envs.make(env), FAIL)
    with pytest.raises(EnvWorkerError, match="^env worker 1 .* died, exit code 0"):
        envs.make(env).reset()


@pytest.mark.fault(1)
@pytest.mark.parametrize(
    ("action", "error", "text"),
    [(FAIL, OSError, "the simulator crashed"), (FAIL_OTHERWISE, OddError, "(7, 'no such joint')")],
)
@pytest.mark.table
def test_an_error_of_a_worker_is_passed_on(action, error, text):
    environments = envs.make(vector)
    with contextlib.closing(environments), pytest.raises(error) as raised:
        after_one_step(environments, action)
    assert type(raised.value) is error
    assert str(raised.value) == text
    assert notes(raised.value) == [f"environment 1, episode 1, step 2, action {action}"]


@pytest.mark.fault(1)
def test_an_error_that_cannot_be_passed_on(monkeypatch):
    monkeypatch.setattr(async_workers, "_SECONDS_TO_REPORT", 0.5)
    environments = envs.make(vector)
    with (
        contextlib.closing(environments),
        within(5),
        pytest.raises(EnvWorkerError, match="failed with an error that cannot be pickled"),
    ):
        after_one_step(environments, FAIL_UNPICKLABLE)


@pytest.mark.fault(44)
def test_workers_that_are_made_here_ignore_ctrl_c():
    with contextlib.closing(envs.make(vector, 1, envs.FaultPolicy("restart"))) as environments:
        environments.reset()
        for pid in pids(environments):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert environments.step(np.array([GO_ON] * 3)).valid.all()


def test_ctrl_c_that_ended_a_worker_is_no_fault_of_it():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may ignore it.
    try:
        env = vector()
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        environments = envs.make(env)
        environments.reset()
        for process in env.processes:
            os.kill(process.pid, signal.SIGINT)
            process.join(30)
        with pytest.raises(KeyboardInterrupt):
            environments.step(np.array([GO_ON] * 3))
    finally:
        env.close(terminate=True)


@pytest.mark.fault(2)
@pytest.mark.parametrize("action", [KILL, HANG, FAIL])
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.thorough
def test_the_whole_vector_is_made_anew(action, mode):
    faults = envs.FaultPolicy("restart", max_env_restarts=1, env_timeout=1.0)
    environments = envs.make(lambda: vector(autoreset_mode=mode), 1, faults)
    workers = pids(environments)
    rule = rf"^environment 1, episode 1, step 2, action {action}: .*restart 1 of at most 1"
    with contextlib.closing(environments):
        with pytest.warns(UserWarning, match=rule):
            step = after_one_step(environments, action)
        assert step.cut.all() and not step.valid.any()
        assert step.observation[0].tolist() == [[0, 0]] * 3
        assert all(gone(pid) for pid in workers)
        assert not set(workers) & set(pids(environments))
        seeds = environments._env.call("seeds")
        assert [[seed[0] - seeds[0][0]] for seed in seeds] == [[0], [1], [2]]
        assert not set(seeds[0]) & {5, 6, 7}
        step = environments.step(np.array([GO_ON] * 3))
        assert step.valid.all() and step.next_observation[0].tolist() == [[0, 1]] * 3
        workers = pids(environments)
        with pytest.raises(EnvError, match="failed after max_env_restarts=1 restarts"):
            environments.step(np.array([GO_ON, action, GO_ON]))
    assert all(gone(pid) for pid in workers)


@pytest.mark.fault(2)
def test_other_environments_in_their_place_are_refused():
    made = [vector(3), vector(2)]
    environments = envs.make(lambda: made.pop(0), 1, envs.FaultPolicy("restart"))
    second = made[0]
    with (
        contextlib.closing(environments),
        pytest.warns(UserWarning),
        pytest.raises(EnvError, match="the same at every call"),
    ):
        after_one_step(environments, KILL)
    assert second.closed


@pytest.mark.fault(28)
def test_what_hangs_as_it_closes_is_killed(monkeypatch):
    monkeypatch.setattr(async_workers, "_SECONDS_TO_CLOSE", 0.3)
    environments = envs.make(lambda: vector(2, lambda: Worker(hang_at_close=True)))
    environments.reset()
    workers = pids(environments)
    with within(2):
        environments.close()
    assert all(gone(pid) for pid in workers)


def test_environments_of_workers_are_closed_by_them(tmp_path):
    class Telling(CountingEnv):
        def close(self):
            (tmp_path / str(os.getpid())).touch()

    environments = envs.make(lambda: vector(2, Telling))
    environments.reset()
    workers = pids(environments)
    environments.close()
    assert {str(pid) for pid in workers} <= set(os.listdir(tmp_path))


def test_a_vector_is_watched_by_two_at_once(given):
    env = given(2)
    first, second = envs.make(env, 1, SHORT), envs.make(env)
    second.close()
    first.reset()
    with pytest.raises(EnvWorkerError, match="within env_timeout=1.0"):
        first.step(np.array([GO_ON, HANG]))
    first.close()
    assert "step_wait" not in vars(env)


@pytest.mark.fault(30)
def test_what_cannot_be_pickled(run_python):
    output = run_python(
        """
import threading, traceback
import kerasrl
from gymnasium.vector import AsyncVectorEnv
from kerasrl.testing import CountingEnv

lock = threading.Lock()

def make():
    with lock:
        return CountingEnv()

if __name__ == "__main__":
    agent = kerasrl.DQN()
    agent.compile()
    try:
        agent.fit(lambda: AsyncVectorEnv([make] * 2, context="spawn"))
    except TypeError as error:
        traceback.print_exception(error)
"""
    )
    assert "TypeError: cannot pickle '_thread.lock' object" in output
    assert "What makes an environment goes to a worker process pickled." in output


@pytest.mark.fault(30)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Of Gymnasium's.
def test_a_worker_that_dies_as_it_starts(run_python):
    output = run_python(
        """
import os
from gymnasium.vector import AsyncVectorEnv
from kerasrl import envs
from kerasrl.testing import CountingEnv

process = os.getpid()

def make():
    if os.getpid() != process:
        raise OSError("no display")
    return CountingEnv()

try:  # In a process without threads of tests, which a fork does not take along.
    envs.make(lambda: AsyncVectorEnv([make] * 2, context="fork"))
except (EOFError, ConnectionError) as error:
    print("said:", error.args, getattr(error, "__notes__", ""))
"""
    )
    (said,) = [line for line in output.splitlines() if line.startswith("said:")]
    assert "A worker process ended as it started" in said


@pytest.mark.fault(56)
@pytest.mark.reverb
def test_forking_beside_a_replay_is_worth_a_warning(run_python):
    output = run_python(
        """
import warnings
import gymnasium as gym
import kerasrl
from gymnasium.vector import AsyncVectorEnv
from kerasrl.testing import CountingEnv

def make(context):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kerasrl.envs.make(lambda: AsyncVectorEnv([CountingEnv], context=context)).close()
    return [str(warning.message) for warning in caught]

if __name__ == "__main__":
    print("before:", make(None))
    spec = kerasrl.envs.EnvSpec(gym.spaces.Box(0, 1, (2,)), gym.spaces.Discrete(2))
    with kerasrl.replay.Uniform(64) as replay:
        replay.open(kerasrl.replay.transition_spec(spec))
        for context in (None, "fork"):
            (text,) = make(context)
            print("beside:", text)
"""
    )
    said = [line for line in output.splitlines() if line.startswith(("before:", "beside:"))]
    assert said[0] == "before: []"
    assert len(said) == 3
    assert all("were forked from a process in which a replay has run" in text for text in said[1:])
