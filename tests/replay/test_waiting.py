"""Nothing waits for a replay for ever, and the error says what is wrong."""

import contextlib
import gc
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings

import pytest
import tensorflow as tf

from kerasrl.errors import (
    ArgumentError,
    ReplayRestarted,
    ReplayStarved,
    ReplayUnavailable,
)
from kerasrl.experience.packing import Packer
from kerasrl.replay import Queue, Uniform

SPEC = {"x": tf.TensorSpec((), tf.int64)}
ROLLOUT = {"x": tf.TensorSpec((3, 2), tf.int64)}
SEEDS = [None, 0]
TIMEOUT = 2
LONGER = 4  # Leaves time for the warning that comes before the error.
FIGURES = r"held 1 items of at most 1, with 1 inserted and \d+ sampled"


@contextlib.contextmanager
def within(seconds):
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def drain(iterator):
    for _ in range(100_000):
        next(iterator)


@pytest.fixture
def filled():
    """Makes replays of one block of 64."""
    with contextlib.ExitStack() as replays:

        def make(seed=None, timeout=TIMEOUT, rows=64):
            replay = replays.enter_context(Uniform(64, timeout=timeout))
            replay.open(SPEC, seed)
            replay.insert(replay.packer.rows(rows))
            replay.flush()
            return replay

        yield make


def stop_server(replay):
    """As if it had died: the replay knows nothing of it."""
    replay._table.server._server.stop()


# -- a server that is gone --------------------------------------------------------------------


@pytest.mark.reverb
@pytest.mark.fault(33)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_batches_of_a_dead_server_end(seed, filled):
    replay = filled(seed)
    batches = iter(replay.dataset(4))
    next(batches)
    assert replay.failure() is None
    stop_server(replay)
    with within(TIMEOUT + 1), pytest.raises(tf.errors.OpError, match="ReplayUnavailable: the repl"):
        drain(batches)
    failure = replay.failure()
    assert isinstance(failure, ReplayUnavailable)
    assert isinstance(failure, TimeoutError)
    address = replay._table.server.address
    pattern = rf"{address} does not answer: [\d.]+ s were spent waiting for .*{FIGURES}.*checkpoint"
    assert re.search(pattern, str(failure))
    with within(1), pytest.raises((tf.errors.OpError, StopIteration)):  # It stays so.
        drain(batches)
    with within(1):
        replay.close()


@pytest.mark.reverb
@pytest.mark.fault(33)
@pytest.mark.parametrize(
    "use",
    [
        lambda replay, path: [replay.insert(replay.packer.rows(64)) for _ in range(32)],
        lambda replay, path: replay.dataset(4),
        lambda replay, path: replay.save(path, 0),
        lambda replay, path: replay.info(1),
    ],
    ids=["insert", "dataset", "save", "info"],
)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.thorough
def test_calls_on_a_dead_server_end(seed, use, filled, tmp_path):
    replay = filled(seed)
    replay.insert(replay.packer.rows(63))
    stop_server(replay)
    with within(TIMEOUT + 1), pytest.raises(ReplayUnavailable, match="does not answer"):
        use(replay, tmp_path)
    with within(1):
        replay.close()


@pytest.mark.reverb
@pytest.mark.fault(33)
def test_a_queue_whose_server_is_dead():
    with Queue(timeout=TIMEOUT) as queue:
        queue.open(ROLLOUT)
        rollouts = iter(queue.dataset(lambda rollout: rollout))
        queue.insert(queue.packer.rows(1))
        stop_server(queue)
        with within(TIMEOUT + 1), pytest.raises(tf.errors.OpError, match="ReplayUnavailable"):
            next(rollouts)
        assert isinstance(queue.failure(), ReplayUnavailable)
        with within(TIMEOUT + 1), pytest.raises(ReplayUnavailable, match="items to be inserted"):
            queue.insert(queue.packer.rows(1))
        with within(1):
            queue.close()


@pytest.mark.fault(33)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_closing_ends_what_waits(seed, filled):
    replay = filled(seed, timeout=60)
    batches = iter(replay.dataset(4))
    next(batches)
    closing = threading.Timer(0.3, replay.close)
    closing.start()
    with within(5), pytest.raises(tf.errors.OpError, match="ReplayError: the replay .* is closed"):
        drain(batches)
    closing.join()


SERVER = """
import sys
import reverb
import tensorflow as tf
print("ready", flush=True)
port, name = sys.stdin.readline().split()
block = tf.TensorSpec((16, 8), tf.uint8)
table = reverb.Table(
    name, reverb.selectors.Uniform(), reverb.selectors.Fifo(), 100,
    reverb.rate_limiters.MinSize(1), signature=block,
)
server = reverb.Server([table], port=int(port))
with reverb.Client(f"localhost:{port}").trajectory_writer(1) as writer:
    for _ in range(20):
        writer.append(tf.zeros(block.shape, block.dtype).numpy())
        writer.create_item(name, 1.0, writer.history[-1])
print("serving", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def other_processes():
    """Starts processes that serve a table when they are told to."""
    processes = []

    def start(count):
        for _ in range(count):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            command = [sys.executable, "-c", SERVER]
            errors = subprocess.DEVNULL
            processes.append(subprocess.Popen(command, **pipes, stderr=errors, text=True))
        for process in processes:
            until(process, "ready")
        return processes

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


def until(process, word):
    assert any(word in line for line in process.stdout)


def serve(process, port, table):
    process.stdin.write(f"{port} {table}\n")
    process.stdin.flush()
    until(process, "serving")


def remote(port, table, timeout):
    """What a replay whose server is another process would be: a watchdog, an alarm, batches."""
    from kerasrl.replay.server.alarm import Alarm
    from kerasrl.replay.server.pipelines import free_running
    from kerasrl.replay.server.watchdog import Watchdog

    address = f"localhost:{port}"
    watchdog = Watchdog(address, table, timeout)
    alarm = Alarm(watchdog)
    block = tf.TensorSpec((16, 8), tf.uint8)
    batches = iter(free_running(address, table, block, Packer(SPEC).unpack, 4, alarm))
    for _ in range(100):
        assert next(batches)["x"].shape == (4,)
    return watchdog, alarm, batches


@pytest.mark.reverb
@pytest.mark.fault(33)
@pytest.mark.fault(34)
@pytest.mark.slow
def test_a_server_in_another_process_that_is_killed_and_replaced(other_processes):
    first, other = other_processes(2)
    port = free_port()
    serve(first, port, "replay-1")
    watchdog, alarm, batches = remote(port, "replay-1", TIMEOUT)
    patient, patient_alarm, patient_batches = remote(port, "replay-1", timeout=60)
    first.send_signal(signal.SIGKILL)
    with within(TIMEOUT + 1), pytest.raises(tf.errors.OpError, match="ReplayUnavailable"):
        drain(batches)
    assert isinstance(watchdog.find_failure(), ReplayUnavailable)
    with within(1):
        alarm.close()
        del batches
        gc.collect()
    serve(other, port, "replay-2")  # It has as much to sample as the other had.
    with within(30), pytest.raises(tf.errors.OpError):
        drain(patient_batches)
    failure = patient.find_failure()
    assert isinstance(failure, ReplayRestarted)
    pattern = r"another server answers at .* tables \['replay-2'\], and ours was replay-1"
    assert re.search(pattern, str(failure))
    with within(1):
        patient_alarm.close()


@pytest.mark.reverb
@pytest.mark.fault(34)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_that_was_replaced_takes_in_nothing(seed, filled):
    """As another process would find it on the port that ours had."""
    replay, other = filled(seed), filled(seed)
    with contextlib.ExitStack() as restored:
        server, watchdog = replay._table.server, replay._table.waiting
        restored.callback(setattr, watchdog, "_table", server.table)
        restored.callback(setattr, server, "table", server.table)
        server.table = watchdog._table = "replay-of-a-server-that-is-gone"
        with within(TIMEOUT), pytest.raises(ReplayRestarted, match="ours was replay-of-a-server"):
            replay.insert(replay.packer.rows(64 * 32))
        assert other.info().rate_limiter_info.insert_stats.completed == 1


# -- a table that nothing comes into ----------------------------------------------------------


def starved(make_batches, replay):
    """Has batches starve, and returns the error behind TensorFlow's and the warnings before it."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        batches = iter(make_batches())
        with within(2 * LONGER), pytest.raises(tf.errors.OpError, match="ReplayStarved: "):
            next(batches)
    said = [str(warning.message) for warning in warned if warning.category is UserWarning]
    return replay.failure(), said


@pytest.mark.fault(37)
@pytest.mark.table
def test_a_starved_dataset_warns_once_and_ends(store):
    # Of a server, only whole blocks can be sampled.
    rows, most, rest = (
        (63, 1, "; it can be sampled from 1 on") if store == "reverb" else (0, 64, "")
    )
    with Uniform(64, timeout=LONGER) as replay:
        replay.open(SPEC)
        replay.insert(replay.packer.rows(rows))
        failure, warned = starved(lambda: replay.dataset(4), replay)
        replay.insert(replay.packer.rows(1))
        next(iter(replay.dataset(4)))  # Another begins anew.
        assert replay.failure() is None
    assert isinstance(failure, ReplayStarved)
    for text in (str(failure), *warned):
        assert re.match(r"[\d.]+ s were spent waiting for something to sample, and nothing", text)
        held = f"Its table held 0 items of at most {most}, with 0 inserted and 0 sampled so far"
        assert f"{held}{rest}. See whether whatever collects is still at work" in text
    assert len(warned) == 1


@pytest.mark.fault(37)
@pytest.mark.table
def test_a_starved_queue_warns_once_and_ends():
    """Whoever collects has died without a word."""
    with Queue(timeout=LONGER) as queue:
        queue.open(ROLLOUT)
        failure, warned = starved(lambda: queue.dataset(lambda rollout: rollout), queue)
    assert isinstance(failure, ReplayStarved)
    assert "waiting for a rollout, and nothing was inserted. Its table held 0 items" in str(failure)
    assert len(warned) == 1


@pytest.mark.table
def test_a_warning_that_is_made_an_error_ends_the_dataset():
    with Uniform(64, timeout=60) as replay, warnings.catch_warnings():
        warnings.simplefilter("error")
        replay.open(SPEC)
        batches = iter(replay.dataset(4))
        replay._table.waiting.wait = 1
        with within(5), pytest.raises(tf.errors.OpError, match="ReplayError: .* something to"):
            next(batches)


@pytest.mark.table
def test_what_is_inserted_in_time_does_not_starve():
    with Uniform(64, timeout=TIMEOUT) as replay:
        replay.open(SPEC)
        batches = iter(replay.dataset(4))
        inserting = threading.Timer(0.8, lambda: replay.insert(replay.packer.rows(64)))
        inserting.start()
        with pytest.warns(UserWarning, match="waiting for something to sample"):
            next(batches)
        inserting.join()
        time.sleep(TIMEOUT)  # Nothing is inserted any more, and there is enough to sample.
        for _ in range(200):
            next(batches)
        assert replay.failure() is None


@pytest.mark.table
def test_a_rollout_that_is_not_expected_yet_may_take_longer():
    with Queue(timeout=1) as queue:
        queue.open(ROLLOUT)
        queue.expected = False
        rollouts = iter(queue.dataset(lambda rollout: rollout))
        inserting = threading.Timer(2, lambda: queue.insert(queue.packer.rows(1)))
        inserting.start()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            next(rollouts)
        inserting.join()
        queue.expected = True
        with (
            pytest.warns(UserWarning, match="waiting for a rollout"),
            pytest.raises(tf.errors.OpError, match="ReplayStarved"),
        ):
            next(rollouts)


# -- pipelines --------------------------------------------------------------------------------


def test_a_new_dataset_forgets_the_failure_of_another():
    with Uniform(64, timeout=TIMEOUT) as replay:
        replay.open(SPEC, seed=0)
        with pytest.raises(tf.errors.OpError, match="is empty"):
            next(iter(replay.dataset(4)))
        assert "the replay is empty" in str(replay.failure())
        replay.insert(replay.packer.rows(64))
        next(iter(replay.dataset(4)))
        assert replay.failure() is None


@pytest.mark.reverb
def test_a_dataset_that_ends_by_itself_leaves_nothing_running(filled):
    replay = filled()
    for _ in range(3):
        with within(2):
            assert len(list(replay.dataset(4).take(5))) == 5
    threads = [thread.name for thread in threading.enumerate()]
    assert threads.count("kerasrl-replay-watchdog") == 1
    replay.close()
    assert "kerasrl-replay-watchdog" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.table
def test_many_pipelines_of_one_replay(filled, store):
    replay = filled()
    iterators = [iter(replay.dataset(4)) for _ in range(5)]
    for iterator in iterators:
        next(iterator)
    with within(3):
        del iterators, iterator
        gc.collect()
    iterators = [iter(replay.dataset(4)) for _ in range(5)]
    for iterator in iterators:
        next(iterator)
    if store == "reverb":
        stop_server(replay)
    else:
        replay.close()
    with within(TIMEOUT + 1):
        for iterator in iterators:
            with pytest.raises(tf.errors.OpError, match="ReplayUnavailable|ReplayError: .* closed"):
                drain(iterator)


@pytest.mark.slow
def test_op_determinism_and_unclosed_replays(run_python):
    """TensorFlow then takes turns between the parts of a pipeline, and would wait for the alarm."""
    output = run_python(
        """
import threading
import tensorflow as tf
tf.keras.utils.set_random_seed(0)
from kerasrl.replay import Uniform
free = Uniform(64)
free.open({"x": tf.TensorSpec((), tf.int64)})
tf.config.experimental.enable_op_determinism()
drawn = Uniform(64)
drawn.open({"x": tf.TensorSpec((), tf.int64)})
for replay in free, drawn:
    replay.insert(replay.packer.rows(64))
    replay.flush()
batches = iter(drawn.dataset(4))
print("drawn", sum(len(next(batches)["x"]) for _ in range(200)))
try:
    free.dataset(4)
except RuntimeError as error:
    print("refused", error)
""",
        timeout=60,
    )
    assert "drawn 800" in output
    assert "refused" in output


# -- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), None, "long"])
@pytest.mark.parametrize("kind", [Uniform, Queue])
def test_the_timeout_must_be_positive(kind, timeout):
    with pytest.raises(ArgumentError, match="timeout must be positive, in seconds; received"):
        kind(timeout=timeout)


@pytest.mark.fault(36)
def test_a_batch_of_more_than_the_replay_can_hold():
    with Uniform(100) as replay:
        replay.open(SPEC)
        replay.insert(replay.packer.rows(50))
        pattern = "batch_size=101 .* capacity=100 makes 100 transitions, so that"
        with pytest.raises(ArgumentError, match=pattern):
            replay.dataset(101)
        assert len(next(iter(replay.dataset(100)))["x"]) == 100  # Twice what there is now.


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    ("batch_size", "rule"),
    [
        (0, "be a positive int or None"),
        (-2, "be a positive int or None"),
        (4, "divide the 6 examples of a rollout"),
        (12, "divide the 6 examples of a rollout"),
    ],
)
def test_a_minibatch_that_does_not_divide_a_rollout(batch_size, rule):
    with Queue() as queue:
        queue.open(ROLLOUT)
        pattern = f"batch_size must {rule}; received {batch_size}"
        with pytest.raises(ArgumentError, match=pattern):
            queue.dataset(lambda rollout: rollout, batch_size)
