"""What a test may leave behind: processes, threads, ports, sockets, shared memory and files."""

import gc
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

_SECONDS = 15  # gRPC closes some of its sockets a little later.


def handles():
    """What there is at this moment, as a set of names."""
    return (
        _children()
        | {f"thread {thread.name} {thread.ident}" for thread in _threads()}
        | _sockets()
        | {f"/dev/shm/{name}" for name in os.listdir("/dev/shm")}
        | {str(path) for path in Path(tempfile.gettempdir()).glob("kerasrl-*")}
    )


def counts():
    """The threads begun in Python, the threads of the process, and the open files, as an array."""
    gc.collect()  # A spy and the exception that it raises hold each other, and the frames of a run.
    tasks, files = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
    return np.array([len(_threads()), len(tasks), len(files)])


def more_than(before, allowed):
    """What `counts` has above `before`, once it has had time to go down to what is allowed."""
    return _settled(lambda: counts() - before, lambda more: more.max() <= allowed)


def left_since(before):
    """What is there that was not, once it has had time to go."""
    return sorted(_settled(lambda: _ours(handles() - before), lambda left: not left))


def _settled(measure, is_well):
    deadline = time.monotonic() + _SECONDS
    while not is_well(found := measure()) and time.monotonic() < deadline:
        gc.collect()  # Exceptions hold frames, and these what was opened in them.
        time.sleep(0.05)
    return found


def _ours(found):
    """Leaves out the shared memory that other processes are at work with, such as other tests'."""
    shared = {name for name in found if name.startswith("/dev/shm/")}
    if not shared:
        return found
    in_use = set()
    for process in Path("/proc").glob("[0-9]*"):
        if process.name != str(os.getpid()):
            in_use |= _mapped(process)
    return found - {name for name in shared if _inode(name) in in_use}


def _mapped(process):
    """The inodes that a process has mapped: the maker of a semaphore maps it by another name."""
    try:
        return {int(line.split()[4]) for line in (process / "maps").read_text().splitlines()}
    except OSError:
        return set()


def _inode(name):
    try:
        return os.stat(name).st_ino
    except FileNotFoundError:
        return None


def _threads():
    """The threads that were begun in Python; TensorFlow keeps its own."""
    return [t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)]


def _children():
    children = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            stat = (process / "stat").read_text()
        except OSError:
            continue
        name, fields = stat[stat.index("(") : stat.rindex(")") + 1], stat.rpartition(")")[2].split()
        if int(fields[1]) == os.getpid():
            children.add(f"process {process.name} {name} {fields[0]}")
    return children


def _sockets():
    """The TCP sockets of this process, with their state and ports."""
    own = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            own.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            continue
    found = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if os.path.exists(table) else ():
            fields = line.split()
            if f"socket:[{fields[9]}]" in own:
                port = int(fields[1].rpartition(":")[2], 16)
                found.add(f"socket {fields[9]} of port {port} in state {fields[3]}")
    return found


def port_of(replay):
    """The port of an open replay's server; None of one that is in this process."""
    return getattr(getattr(replay._table, "server", None), "port", None)


def is_listened_on(port):
    """Whether something listens on a port of this machine; nothing does on None."""
    if not port:
        return False
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex(("::1", port)) == 0


def bound_devices(port):
    """The devices that this process's sockets that listen on `port` are bound to."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with copy:
            listening = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listening and copy.getsockname()[1] == port:
                found.append(copy.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16))
    return found
