"""What kerasrl does where the system is not Linux, as far as Linux can tell."""

import ctypes
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import types

import pytest

from kerasrl import system


@pytest.fixture(params=["poll", "wait"])
def waiting(request, monkeypatch):
    """Both ways of waiting for pipes."""
    if request.param == "wait":
        monkeypatch.delattr(select, "poll")


@pytest.fixture
def pipes():
    """Pairs of ends of three pipes."""
    pairs = [multiprocessing.Pipe() for _ in range(3)]
    yield pairs
    for pair in pairs:
        for end in pair:
            end.close()


def test_all_pipes_are_waited_for(waiting, pipes):
    ours, theirs = zip(*pipes, strict=True)
    for end in theirs[:2]:
        end.send(1)
    assert not system.wait_for_all(ours, 0.1)
    assert not system.wait_for_all(ours, -1.0)
    later = threading.Timer(0.3, theirs[2].send, [2])
    later.start()
    began = time.monotonic()
    assert system.wait_for_all(ours, 30)
    assert 0.2 < time.monotonic() - began < 20
    assert [end.recv() for end in ours] == [1, 1, 2]
    later.join()


def test_the_end_of_one_is_not_waited_beyond(waiting, pipes):
    ours, theirs = zip(*pipes, strict=True)
    theirs[1].send(1)
    theirs[1].close()  # With something left to be read.
    assert not system.wait_for_all(ours, 0.1)
    theirs[2].close()
    with pytest.raises(EOFError, match="has ended"):
        system.wait_for_all(ours, 30)


@pytest.mark.parametrize("there", [True, False])
def test_a_file_in_memory_has_no_name(there, tmp_path, monkeypatch):
    if not there:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setenv("TMPDIR", str(tmp_path))
    with system.file_in_memory("x") as file:
        os.write(file.fileno(), b"text")
        file.seek(0)
        assert file.read() == b"text"
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("platform", "function"), [("linux", "renameat2"), ("darwin", "renamex_np"), ("win32", None)]
)
def test_names_are_swapped_by_what_the_system_has(platform, function, tmp_path, monkeypatch):
    one, other = tmp_path / "one", tmp_path / "other"
    called = []

    def library(name, use_errno):
        if function is None:
            raise TypeError("Windows has no library of that name")
        found = lambda *arguments: called.append(arguments) or 0  # noqa: E731
        return types.SimpleNamespace(**{function: found})

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert system.exchange(one, other) == (function is not None)
    names = [value for call in called for value in call if isinstance(value, bytes)]
    assert names == ([os.fsencode(one), os.fsencode(other)] if function else [])


def test_names_are_swapped(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    assert system.exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one").read_text() == "other"
    assert not system.exchange(tmp_path / "one", tmp_path / "missing")


def test_what_ended_a_process():
    assert system.meaning(3) == ""
    assert system.meaning(-9) == " (SIGKILL, which the kernel sends when memory runs out)"
    assert system.meaning(-signal.SIGTERM) == " (SIGTERM)"


# What Windows lacks, and some of it macOS, is taken away before kerasrl is imported.
ELSEWHERE = """
import ctypes, fcntl, multiprocessing.context, os, select, signal, subprocess, sys, tempfile, types
import keras, numpy, tensorflow

locking = lambda file, mode, count: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2)
sys.modules["fcntl"] = None
for name in ("memfd_create", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "geteuid", "fork"):
    delattr(os, name)
del select.poll, multiprocessing.context.ForkProcess, signal.SIGKILL
library = ctypes.CDLL

class CDLL(library):
    def __init__(self, name, *arguments, **more):
        if name is None:
            raise TypeError("there is no library without a name")
        super().__init__(name, *arguments, **more)

ctypes.CDLL = CDLL
import kerasrl

def run(env_steps):
    agent = kerasrl.DQN()
    agent.compile()
    kept = kerasrl.callbacks.Checkpoint("run", every_seconds=0.1)
    warm_up = kerasrl.callbacks.Collect(warmup_steps=64)
    agent.fit("CartPole-v1", env_steps=env_steps, callbacks=[kept, warm_up], seed=0, verbose=0)
    return agent

run(80)
agent = run(100)
assert int(agent.env_steps) == 100 and int(agent.gradient_steps) == 36, agent.env_steps
X = numpy.zeros((1, 4), "float32")
for _ in range(2):
    agent.save("agent.keras")
    for form in ("saved_model", "tflite"):
        agent.export_policy(form, form)
        assert kerasrl.load_policy(form).act(X) == agent.predict(X, verbose=0)
assert kerasrl.load("agent.keras").predict(X, verbose=0) == agent.predict(X, verbose=0)
print("done")
"""


@pytest.mark.thorough
def test_a_run_where_what_linux_has_is_missing(run_python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = run_python(ELSEWHERE)
    assert output.splitlines()[-1] == "done"
    assert {path.name for path in tmp_path.iterdir()} >= {"agent.keras", "run", "tflite"}
    assert not [path for path in tmp_path.rglob("*partial*")]
