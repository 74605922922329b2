"""A Reverb server in this process that can be reached from this machine only."""

import contextlib
import ctypes
import os
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import reverb

from kerasrl.errors import LoadError, PortInUse, ReplayError
from kerasrl.native_log import muted
from kerasrl.replay.server import table_files
from kerasrl.replay.server.watchdog import Watchdog

_ATTEMPTS = 5
_ANSWER = 30  # Seconds.


class LoopbackServer:
    """Reverb listens on every interface, without authentication; this binds it to loopback.

    Its one table has a name that no other server's table has. So what is meant for this server
    fails at any other that is started in its place.

    Args:
        make_table: callable from the table's name to a new `reverb.Table`.
        port: int, or None for any free port.
        contents: path of a directory that `save` wrote, to begin with what is in it; None begins
            with an empty table.

    Attributes:
        table: str, the table's name.
        port: int.

    Raises:
        LoadError: when `contents` are damaged.
        PortInUse: when `port` is taken (Reverb itself would share it without a word).
        ReplayError: when the kernel refuses to bind the server to loopback.
    """

    def __init__(
        self,
        make_table: Callable[[str], reverb.Table],
        port: int | None = None,
        contents: Path | None = None,
    ):
        self.table = f"replay-{uuid.uuid4().hex}"
        # Where the server writes to: a link, there only while it does, so that a kill leaves none.
        self._link = Path(tempfile.gettempdir(), f"kerasrl-{self.table}")
        with tempfile.TemporaryDirectory(prefix="kerasrl-replay-") as directory:
            renamed, held = None, 0
            if contents is not None:
                renamed = Path(directory, "contents")
                held = table_files.rename(contents, renamed, self.table)
            for attempt in range(_ATTEMPTS):
                try:
                    self._start(make_table(self.table), port, renamed)
                    break
                except PortInUse:  # A free port may be taken by another process meanwhile.
                    if port is not None or attempt == _ATTEMPTS - 1:
                        raise
            self._check(held)

    @property
    def address(self) -> str:
        """The address that clients in this machine connect to."""
        return f"localhost:{self.port}"

    def save(self, directory: Path) -> None:
        """Writes the table with all that it holds into a new directory.

        Raises:
            OSError: when it cannot be written. The server goes on.
        """
        directory.mkdir()
        # The server writes to one place for ever, and keeps nothing else there.
        self._link.symlink_to(directory.absolute(), target_is_directory=True)
        try:
            with muted():
                written = reverb.Client(self.address).checkpoint()
        except RuntimeError as error:
            raise OSError(f"{error}") from error
        finally:
            self._link.unlink()
        table_files.gather(directory / Path(written).name, directory)

    def stop(self) -> None:
        """Shuts the server down and frees its port."""
        with muted():
            self._server.stop()

    def _start(self, table: reverb.Table, port: int | None, contents: Path | None) -> None:
        self.port = _probe(port)
        checkpointer = reverb.checkpointers.DefaultCheckpointer(
            str(self._link), fallback_checkpoint_path=contents and str(contents)
        )
        try:
            with muted():
                self._server = _Server([table], port=self.port, checkpointer=checkpointer)
        except (RuntimeError, ValueError) as error:
            if "BuildAndStart" in str(error):
                raise PortInUse(f"port {self.port} was taken just now; choose another.") from error
            raise LoadError(f"the saved replay is damaged: {error}.") from error
        with self._stopping_on_error():
            _bind_to_loopback(self.port)

    def _check(self, held: int) -> None:
        """Sees that this server answers, and that nothing of what was saved is missing."""
        with self._stopping_on_error():
            watchdog = Watchdog(self.address, self.table, _ANSWER)
            info = watchdog.look("its start", patience=_ANSWER)
            if info.current_size != held:
                # Reverb begins with an empty table, without a word, if a file is missing.
                raise LoadError(
                    f"the saved replay is damaged: of {held} items, {info.current_size} were read."
                )

    @contextlib.contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with muted():
                self._server.stop()
            raise


class _Server(reverb.Server):
    """Reverb's, whose port is not portpicker's to take back.

    Portpicker says so by Python's root logger, which configures it, so that whatever other loggers
    have printed appears a second time from then on.
    """

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # It may not have started.
            self.stop()


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
