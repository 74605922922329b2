import re
import warnings
from pathlib import Path

import pytest
import tensorflow as tf

from kerasrl.replay import Uniform
from kerasrl.replay.memory import available_bytes

SPEC = {"x": tf.TensorSpec((), tf.int64)}
GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """Lays out what the kernel tells, and reads it."""

    def read(files, membership="0::/\n", meminfo="MemTotal: 16777216 kB\nMemAvailable: 8388608 kB"):
        (tmp_path / "meminfo").write_text(meminfo)
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            path = tmp_path / "cgroups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))
        names = ("meminfo", "membership", "cgroups")
        return available_bytes(*(tmp_path / name for name in names))

    return read


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "", 8 * GIB),
        ({"memory.max": "max\n", "memory.current": GIB}, "0::/", 8 * GIB),
        ({"memory.max": 3 * GIB, "memory.current": GIB}, "0::/", 2 * GIB),
        ({"memory.max": GIB, "memory.current": 3 * GIB}, "0::/", 0),
        (
            {
                "memory.max": 3 * GIB,
                "memory.current": 2 * GIB,
                "memory.stat": f"anon 7\ninactive_file {GIB}\n",
            },
            "0::/",
            2 * GIB,
        ),
        (  # A group within another, which has the lower limit.
            {
                "a/b/memory.max": 7 * GIB,
                "a/b/memory.current": GIB,
                "a/memory.max": 4 * GIB,
                "a/memory.current": 3 * GIB,
            },
            "0::/a/b",
            GIB,
        ),
        (  # A container sees its own group at the root, and its name outside.
            {"memory.max": 3 * GIB, "memory.current": GIB},
            "0::/docker/0123",
            2 * GIB,
        ),
        (
            {
                "memory/a/memory.limit_in_bytes": 3 * GIB,
                "memory/a/memory.usage_in_bytes": GIB,
                "memory.max": GIB,
            },
            "5:cpu,cpuacct:/a\n4:memory:/a\n",
            2 * GIB,
        ),
    ],
)
def test_the_least_of_the_machines_and_the_groups(files, membership, expected, machine):
    assert machine(files, membership) == expected


def test_a_kernel_that_does_not_tell(tmp_path):
    assert available_bytes(*[tmp_path / "nothing"] * 3) is None


def test_this_machine_tells():
    meminfo = Path("/proc/meminfo").read_text()
    total = int(re.search(r"MemTotal: +(\d+) kB", meminfo)[1]) * 1024
    assert 2**20 < available_bytes() < total


@pytest.mark.fault(40)
def test_a_replay_that_may_not_fit_warns_at_its_start(monkeypatch):
    monkeypatch.setattr("kerasrl.replay.memory.available_bytes", lambda: GIB)
    with Uniform(2**28) as replay:
        pattern = "a full replay of 268435456 transitions of 8 bytes is 2.0 GiB .* 1.0 GiB of mem"
        with pytest.warns(UserWarning, match=pattern):
            replay.open(SPEC)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            replay.open(SPEC)  # It is open.
    for capacity in (2**27, 64):
        with Uniform(capacity) as replay, warnings.catch_warnings():
            warnings.simplefilter("error")
            replay.open(SPEC)
