"""Processes that end with replays open: they end, and well."""

import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kerasrl import replay

SPEC = {"x": tf.TensorSpec((3,), tf.float32)}
BEGIN = """
import threading, time
import numpy as np, tensorflow as tf
from kerasrl import replay
from kerasrl.replay import alarm
alarm._PERIOD = 0.01  # Always within Reverb, where the end would come upon it now and then.
spec = {"x": tf.TensorSpec((3,), tf.float32)}
kept = []
def uniform(seed=None):
    made = replay.Uniform(256)
    made.open(spec, seed)
    made.insert(np.zeros(256, made.packer.dtype))
    made.flush()
    kept.append(made)
    batches = iter(made.dataset(8))
    next(batches)
    return batches
"""
UNIFORMS = """
kept.append([uniform() for _ in range(4)])
for _ in range(4):
    uniform()
kept.append(uniform(seed=1))
"""
QUEUE = """
queue = replay.Queue()
queue.open({"x": tf.TensorSpec((4, 1, 3), tf.float32)})
queue.expected = False  # It would wait for ever.
waiting = threading.Thread(target=lambda: list(queue.dataset(lambda rollout: rollout)))
waiting.start()
time.sleep(0.5)
"""
FIT = """
import kerasrl
for agent, left in [(kerasrl.DQN(), replay.Uniform(1000)), (kerasrl.PPO(), replay.Queue())]:
    agent.compile()
    settings = {"callbacks": [kerasrl.callbacks.Collect(warmup_steps=300)], "env_steps": 340}
    settings = settings if isinstance(left, replay.Uniform) else {"epochs": 1, "batch_size": 64}
    agent.fit("CartPole-v1", replay=left, verbose=0, **settings)
    kept.append(left)
"""


def run(script, seconds=100):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


@pytest.mark.slow
@pytest.mark.regression(38)
@pytest.mark.parametrize(
    ("script", "returncode"),
    [(UNIFORMS + QUEUE + "print('end')", 0), (UNIFORMS + "print('end')\nraise OSError('mine')", 1)],
    ids=["end", "error"],
)
def test_the_process_ends_well_whatever_was_left_open(script, returncode):
    ended = run(BEGIN + script)
    assert ended.returncode == returncode, ended.stderr[-2000:]
    assert "end" in ended.stdout
    errors = ended.stderr.replace("OSError: mine", "")
    for crash in ("terminate called", "Fatal Python error", "Segmentation", "Aborted", "Error:"):
        assert crash not in errors


@pytest.mark.slow
@pytest.mark.regression(38)
def test_the_process_ends_well_after_fit():
    ended = run(BEGIN + FIT + UNIFORMS + "print('end')")
    assert (ended.returncode, ended.stdout.strip()[-3:]) == (0, "end"), ended.stderr[-2000:]
    assert "terminate called" not in ended.stderr


@pytest.mark.reverb
@pytest.mark.regression(38)
def test_the_thread_that_looks_after_a_dataset_is_waited_for():
    """It is begun by one of TensorFlow's threads, which Python takes for daemons."""
    with replay.Uniform(256) as made:
        made.open(SPEC)
        made.insert(np.zeros(256, made.packer.dtype))
        made.flush()
        batches = iter(made.dataset(8))
        next(batches)
        deadline = time.monotonic() + 10
        while made._table._alarm._thread is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert made._table._alarm._thread.daemon is False


@pytest.mark.regression(38)
def test_what_is_left_open_is_closed_once():
    left, never = replay.Uniform(256), replay.Queue()
    left.open(SPEC)
    for _ in range(2):
        replay.stored.close_all()
        assert left.size == 0 and left._table is None and never._table is None
    left.open(SPEC)
    left.close()
