import contextlib
import gc
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf
from leftovers import bound_devices

from kerasrl.errors import PortInUse, ReplayError
from kerasrl.replay import Uniform

reverb = pytest.importorskip("reverb")

from kerasrl.replay.server import loopback  # noqa: E402
from kerasrl.replay.server.loopback import LoopbackServer  # noqa: E402

pytestmark = pytest.mark.reverb

SPEC = {"x": tf.TensorSpec((), tf.int64)}


def open_replay(port=None):
    replay = Uniform(64, port)
    replay.open(SPEC)
    return replay


def port_of(replay):
    return int(replay._table.server.address.rsplit(":", 1)[1])


def wait_until(condition, seconds=10):
    """gRPC closes its sockets and ends its threads a moment after `stop` has returned."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_listening_socket_is_bound_to_loopback():
    with open_replay() as replay:
        devices = bound_devices(port_of(replay))
    assert devices
    assert set(devices) == {b"lo\0"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_connects(host):
    with open_replay() as replay:
        socket.create_connection((host, port_of(replay)), timeout=5).close()
        tables = reverb.Client(f"{host}:{port_of(replay)}").server_info(timeout=5)
        assert list(tables) == [replay._table.server.table]


def own_address(family, anywhere):
    """The address that this host would send from to another one; nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((anywhere, 9))
        except OSError:
            return None
        return probe.getsockname()[0]


@pytest.mark.parametrize(
    ("family", "anywhere"), [(socket.AF_INET, "8.8.8.8"), (socket.AF_INET6, "2001:4860:4860::8888")]
)
def test_other_addresses_of_this_host_are_refused(family, anywhere):
    address = own_address(family, anywhere)
    if address is None or address.startswith("127.") or address == "::1":
        pytest.skip("this host has no address but loopback")
    with socket.create_server((address, 0), family=family) as other:  # It would be let in.
        socket.create_connection(other.getsockname()[:2], timeout=5).close()
    with open_replay() as replay, pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, port_of(replay)), timeout=5)


@pytest.mark.fault(35)
@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1"])
def test_a_port_in_use(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} .*port=None") as error:
            open_replay(port)
    assert isinstance(error.value, ReplayError)


@pytest.mark.fault(35)
def test_a_port_in_use_by_reverb():
    with open_replay() as replay:
        port = port_of(replay)
        with pytest.raises(PortInUse, match=f"port {port} "):
            open_replay(port)
        assert replay.info().current_size == 0  # The first is unharmed.


@pytest.mark.fault(35)
def test_a_port_that_another_process_shares(monkeypatch):
    """A probe that comes too early to see the other one."""
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("::", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr("kerasrl.replay.server.loopback._probe", lambda port: port)
        # Within this process, all sockets are ours; so let one of them be nobody's.
        inode = f"socket:[{os.fstat(other.fileno()).st_ino}]"
        readlink = os.readlink
        monkeypatch.setattr(
            os, "readlink", lambda path: "" if readlink(path) == inode else readlink(path)
        )
        with pytest.raises(PortInUse, match=f"port {port} is shared with another process: 2 "):
            open_replay(port)
        monkeypatch.undo()
        wait_until(lambda: len(bound_devices(port)) == 1)  # Ours is gone.


@pytest.mark.fault(35)
@pytest.mark.parametrize("shared", [False, True])
def test_a_free_port_that_is_taken_just_then(shared, monkeypatch):
    """Another one is tried, whether the other process shares it or not."""
    probe = loopback._probe
    with contextlib.ExitStack() as others:
        taken = []

        def late(port):
            other = others.enter_context(socket.socket(socket.AF_INET6))
            if shared:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port = probe(port)
            if len(taken) < tries:
                other.bind(("::", port))
                other.listen()
                taken.append(port)
            return port

        monkeypatch.setattr("kerasrl.replay.server.loopback._probe", late)
        if shared:  # All sockets of this process are ours; so let the others be nobody's.
            monkeypatch.setattr(loopback, "_bind_to_loopback", refuse_shared(taken))
        tries = 2
        with open_replay() as replay:
            assert port_of(replay) not in taken
            assert len(taken) == 2
            assert replay.info().current_size == 0
        tries = 100
        with pytest.raises(PortInUse):
            open_replay()
        assert len(taken) == 2 + loopback._ATTEMPTS


def refuse_shared(taken):
    bind = loopback._bind_to_loopback

    def refuse(port):
        if port in taken:
            raise PortInUse(f"port {port} is shared with another process")
        bind(port)

    return refuse


CONNECT = """
import socket, sys
for address in sys.argv[2:]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
        connection.settimeout(5)
        try:
            connection.connect((address, int(sys.argv[1])))
            print("connected")
        except OSError as error:
            print(type(error).__name__)
"""
# Those of the two ends of the link, of ranges that are meant for examples and for private use.
ADDRESSES = ["198.51.100.1", "fd6b:6572:6173::1"]
OTHERS = ["198.51.100.2", "fd6b:6572:6173::2"]


def nodad(address):
    """IPv6 addresses that can be used at once."""
    return ["nodad"] if ":" in address else []


@pytest.fixture
def elsewhere():
    """A network namespace with a link to this one; tries to connect from there to here."""
    name, here, there = (f"k{kind}{os.getpid()}" for kind in ("ns", "h", "t"))

    def ip(*arguments):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)

    def connect(port):
        command = ["netns", "exec", name, sys.executable, "-S", "-c", CONNECT, str(port)]
        return ip(*command, *ADDRESSES).stdout.split()

    with contextlib.ExitStack() as undo:
        try:
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
            ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
            undo.callback(subprocess.run, ["ip", "link", "del", here], capture_output=True)
            for address, other, length in zip(ADDRESSES, OTHERS, (30, 126), strict=True):
                ip("addr", "add", f"{address}/{length}", "dev", here, *nodad(address))
                there_is = ("-n", name, "addr", "add", f"{other}/{length}", "dev", there)
                ip(*there_is, *nodad(other))
            ip("link", "set", here, "up")
            ip("-n", name, "link", "set", there, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespace: {getattr(error, 'stderr', None) or error}")
        yield connect


def test_another_network_is_refused(elsewhere):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as plain:
        assert elsewhere(plain.getsockname()[1]) == ["connected", "connected"]
    port = _free_port()
    bare = reverb.Server([reverb.Table.queue("bare", 1)], port=port)
    assert elsewhere(port) == ["connected", "connected"]  # What Reverb itself does.
    bare.stop()
    with open_replay() as replay:
        assert elsewhere(port_of(replay)) == ["ConnectionRefusedError", "ConnectionRefusedError"]
        assert replay.info().current_size == 0


def test_close_frees_port_and_threads_and_no_file_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    open_replay().close()  # What is made once for the whole process is made now.
    threads = len(os.listdir("/proc/self/task"))
    replay = open_replay()
    port = port_of(replay)
    assert os.listdir(tmp_path) == []
    replay.close()
    replay.close()
    assert os.listdir(tmp_path) == []
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= threads)
    wait_until(lambda: not bound_devices(port))
    with open_replay(port) as again:
        assert port_of(again) == port


def test_what_is_left_of_a_connection_does_not_take_the_port():
    replay = open_replay()
    port = port_of(replay)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replay.close()
        connection.recv(1024)  # The server closes first, and so lingers in TIME_WAIT.
    open_replay(port).close()


def test_a_kernel_that_refuses(monkeypatch, tmp_path):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    port = _free_port()
    monkeypatch.setattr("kerasrl.replay.server.loopback._probe", lambda _: port)
    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    replay = Uniform(64)
    with pytest.raises(ReplayError, match="not be bound to loopback .Operation not permitted.*5.7"):
        replay.open(SPEC)
    assert os.listdir(tmp_path) == []
    assert replay.size == 0
    replay.close()
    wait_until(lambda: not bound_devices(port))


def _free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


def test_a_host_without_ipv6(monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with open_replay() as replay:
        assert replay.info().current_size == 0


def test_servers_start_in_threads_at_once():
    made, errors = [], []

    def start():
        try:
            made.append(LoopbackServer(lambda name: reverb.Table.queue(name, 1)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    ports = {one.port for one in made}
    for one in made:
        one.stop()
    assert not errors
    assert len(ports) == 4


@pytest.mark.regression(40)
def test_a_server_that_is_gone_leaves_the_root_logger_to_the_user(monkeypatch):
    gc.collect()  # Of servers that are Reverb's own, which other tests have made.
    monkeypatch.setattr(logging.root, "handlers", [])
    replay = open_replay()
    replay.close()
    del replay
    unclosed = LoopbackServer(lambda name: reverb.Table.queue(name, 1))
    del unclosed
    gc.collect()
    assert logging.root.handlers == []
