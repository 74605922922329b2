"""The memory that a replay may come to take, against what there is."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from kerasrl.warning import warn

_GIB = 2**30
_CGROUPS = Path("/sys/fs/cgroup")


def warn_if_too_large(capacity: int, row_bytes: int) -> None:
    """Warns when a full replay might not fit into memory.

    Args:
        capacity: int, transitions.
        row_bytes: int, bytes of one.
    """
    needed, available = capacity * row_bytes, available_bytes()
    if available is not None and needed > available:
        warn(
            f"a full replay of {capacity} transitions of {row_bytes} bytes is "
            f"{needed / _GIB:.1f} GiB before compression, and {available / _GIB:.1f} GiB of memory "
            "are available. If it does not compress well, the process will be killed when memory "
            "runs out. Lower capacity, or use smaller observations."
        )


def available_bytes(
    meminfo: Path = Path("/proc/meminfo"),
    membership: Path = Path("/proc/self/cgroup"),
    cgroups: Path = _CGROUPS,
) -> int | None:
    """Memory that this process may still take: the machine's, or less if its group has a limit.

    Args:
        meminfo: path of the kernel's account of the machine's memory.
        membership: path of the kernel's list of the process's control groups.
        cgroups: path that the control groups are mounted at, of version 1 or 2.

    Returns:
        Bytes, or None when the kernel does not tell.
    """
    found = []
    with contextlib.suppress(OSError, KeyError, ValueError):
        found.append(1024 * _fields(meminfo, ":")["MemAvailable"])
    for group, limit, used in _groups(membership, cgroups):
        with contextlib.suppress(OSError, ValueError):  # No limit reads "max".
            free = int((group / limit).read_text()) - int((group / used).read_text())
            with contextlib.suppress(OSError, KeyError):  # Files kept in memory can be let go.
                free += _fields(group / "memory.stat", " ")["inactive_file"]
            found.append(max(0, free))
    return min(found, default=None)


def _groups(membership: Path, cgroups: Path) -> Iterator[tuple[Path, str, str]]:
    """The process's control groups with the names of their files of the limit and the usage."""
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                root, names = cgroups, ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                root = cgroups / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            group = root / path.lstrip("/")
            # Every group above limits it as well. In a container, the path may not be visible.
            for above in (group, *group.parents):
                yield (above, *names)
                if above == root:
                    break


def _fields(path: Path, separator: str) -> dict[str, int]:
    """The numbers in lines such as `name: 12 kB`."""
    pairs = (line.split(separator, 1) for line in path.read_text().splitlines())
    return {name: int(value.split()[0]) for name, value in pairs}
