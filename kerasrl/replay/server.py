"""A Reverb server in this process that can be reached from this machine only."""

import contextlib
import ctypes
import os
import socket
import tempfile

import reverb
from reverb.platform.checkpointers_lib import DefaultCheckpointer

from kerasrl.errors import PortInUse, ReplayError
from kerasrl.native_log import muted


class LoopbackServer:
    """Reverb listens on every interface, without authentication; this binds it to loopback.

    Args:
        tables: list of `reverb.Table`.
        port: int, or None for any free port.

    Raises:
        PortInUse: when `port` is taken (Reverb itself would share it without a word).
        ReplayError: when the kernel refuses to bind the server to loopback.
    """

    def __init__(self, tables: list[reverb.Table], port: int | None = None):
        self.port = _probe(port)
        self._directory = tempfile.TemporaryDirectory(prefix="kerasrl-replay-")
        with muted():
            self._server = reverb.Server(
                tables, port=self.port, checkpointer=DefaultCheckpointer(self._directory.name)
            )
        try:
            _bind_to_loopback(self.port)
        except BaseException:
            self.stop()
            raise

    @property
    def address(self) -> str:
        """The address that clients in this machine connect to."""
        return f"localhost:{self.port}"

    def stop(self) -> None:
        """Shuts the server down and frees its port and its temporary directory."""
        with muted():
            self._server.stop()
        self._directory.cleanup()


def release_freed_memory() -> None:
    """Hands memory that Reverb's threads have freed back to the system; takes milliseconds."""
    with contextlib.suppress(OSError, AttributeError):  # Only glibc can and needs to.
        ctypes.CDLL(None).malloc_trim(0)


def _probe(port: int | None) -> int:
    dual = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if dual else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of a server that is gone linger for a minute; those do not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if dual:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("::" if dual else "0.0.0.0", port or 0))
        except OSError as error:
            raise PortInUse(
                f"port {port} cannot be had: {error.strerror}. Choose another, or leave port=None "
                "to have a free one picked."
            ) from error
        return probe.getsockname()[1]


def _bind_to_loopback(port: int) -> None:
    inodes = _listening_inodes(port)
    bound = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # The descriptor of the listing itself.
        if target in inodes:
            _bind_descriptor(int(name))
            bound += 1
    if bound < len(inodes) or not bound:
        raise PortInUse(
            f"port {port} is shared with another process: {len(inodes)} sockets listen on it and "
            f"{bound} of them are ours. Choose another port, or leave port=None."
        )


def _bind_descriptor(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        except OSError as error:
            raise ReplayError(
                f"the replay server could not be bound to loopback ({error.strerror}), and an open "
                "Reverb server has no authentication. Linux 5.7 or later allows it to any user, "
                "earlier kernels to processes with CAP_NET_RAW."
            ) from error


def _listening_inodes(port: int) -> set[str]:
    """The sockets of any process that listen on `port`, as `/proc/self/fd` names them."""
    inodes = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table) as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    return inodes
