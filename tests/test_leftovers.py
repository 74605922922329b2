"""The check that nothing is left behind finds what is, and only what is this process's own."""

import _thread
import multiprocessing
import os
import socket
import subprocess
import sys
import threading

import leftovers
import pytest

HOLD_A_SEMAPHORE = """
import multiprocessing
if __name__ == "__main__":
    lock = multiprocessing.get_context("spawn").Lock()
    print("made", flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(leftovers, "_SECONDS", 0.2)


def test_a_semaphore_of_this_process_is_found():
    before = leftovers.handles()
    lock = multiprocessing.get_context("spawn").Lock()
    assert any(name.startswith("/dev/shm/sem.mp-") for name in leftovers.left_since(before))
    del lock


def test_a_semaphore_that_another_process_is_at_work_with_is_not():
    before = set(os.listdir("/dev/shm"))
    command = [sys.executable, "-c", HOLD_A_SEMAPHORE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"made\n"
        made = {f"/dev/shm/{name}" for name in set(os.listdir("/dev/shm")) - before}
        assert made
        assert leftovers._ours(made) == set()
        other.communicate(b"\n")


def test_a_thread_a_process_and_a_socket_are_found():
    before, end = leftovers.handles(), threading.Event()
    thread = threading.Thread(target=end.wait, name="left")
    thread.start()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
    ):
        found = leftovers.left_since(before)
        process.communicate(b"\n")
        port = server.getsockname()[1]
    end.set()
    thread.join()
    kinds = [f"process {process.pid} ", f"of port {port} in state 0A", "thread left"]
    assert [any(kind in name for name in found) for kind in kinds] == [True] * 3
    assert leftovers.left_since(before) == []


def test_a_thread_that_python_only_met_is_not_counted():
    before, met, end = leftovers.counts(), threading.Event(), threading.Event()

    def call():
        threading.current_thread()  # Has Python keep a `_DummyThread` for good.
        met.set()
        end.wait()

    _thread.start_new_thread(call, ())
    assert met.wait(10)
    assert leftovers.counts()[0] == before[0]
    end.set()
