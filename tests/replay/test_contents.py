import functools
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from leftovers import is_listened_on

from kerasrl.errors import ArgumentError, LoadError, MismatchError, SaveError
from kerasrl.replay import Uniform

SPEC = {"x": tf.TensorSpec((), tf.int64), "y": tf.TensorSpec((3,), tf.float32)}
SEEDS = [None, 0]
CAPACITY = 136  # 4 blocks of 34.
BATCH = 8


class Trainer:
    """Inserts and draws in turn, as training does, and may be saved and gone on with elsewhere."""

    def __init__(self, seed=0, store="auto"):
        self.seed = seed
        self.replay = Uniform(CAPACITY, store=store)
        self.replay.open(SPEC, seed)
        self.inserted = 0
        self.begin()

    def begin(self):
        self.batches, self.trained = None, 0

    def insert(self, count):
        rows = self.replay.packer.rows(count)
        rows[self.replay.packer.fields["x"][0]] = np.arange(self.inserted, self.inserted + count)
        self.replay.insert(rows)
        self.inserted += count

    def train(self, count):
        if self.batches is None:
            self.batches = iter(self.replay.dataset(BATCH))
        self.trained += count
        return [next(self.batches)["x"].numpy() for _ in range(count)]

    def run(self, steps):
        drawn = []
        for _ in range(steps):
            self.insert(20)
            if self.replay.size:
                drawn += self.train(5)
        return drawn

    def save(self, directory):
        directory.mkdir()
        self.replay.save(directory, self.trained)
        return directory

    def move(self, directory):
        """Saves, closes, and goes on with a new replay."""
        self.save(directory)
        self.replay.close()
        self.replay = Uniform(CAPACITY, store=self.replay.store)
        self.replay.open(SPEC, None if self.seed is None else 99, checkpoint=directory)
        self.begin()


@pytest.fixture
def trainer():
    trainers = []

    def make(seed=0):
        trainers.append(Trainer(seed))
        return trainers[-1]

    yield make
    for made in trainers:
        made.replay.close()


@functools.cache
def run_without_interruption(store):
    twin = Trainer(store=store)
    drawn = twin.run(30)
    twin.replay.close()
    return np.array(drawn)


@pytest.fixture
def uninterrupted(store):
    return run_without_interruption(store)


@pytest.mark.fault(49)
@pytest.mark.fault(50)
@pytest.mark.parametrize(
    "cuts",
    [
        [1],  # Nothing in the table yet, and part of a block.
        [2],  # Nothing drawn ahead of what is trained on.
        [5],  # In the middle of a draw.
        [8],  # 35 batches: one of a second draw.
        [20],  # Past the capacity, several times over.
        [3, 4, 5, 13, 29],  # Again and again, also within a draw.
    ],
)
@pytest.mark.table
def test_saved_and_gone_on_with_equals_uninterrupted(cuts, trainer, uninterrupted, tmp_path):
    twin = trainer()
    drawn, step = [], 0
    for number, cut in enumerate(cuts):
        drawn += twin.run(cut - step)
        step = cut
        twin.move(tmp_path / str(number))
    drawn += twin.run(30 - step)
    np.testing.assert_array_equal(drawn, uninterrupted)


def test_batches_that_were_drawn_ahead_of_time_are_not_lost(trainer, tmp_path):
    """Pipelines such as `MirroredStrategy`'s ask for batches before they are trained on."""
    twin = trainer()
    twin.insert(100)
    drawn = twin.train(3 * 34 + 2)
    twin.trained = 40
    twin.move(tmp_path / "saved")
    twin.insert(60)
    np.testing.assert_array_equal(twin.train(64), drawn[40:])
    assert np.max(twin.train(34)) >= 102  # What is drawn from then on is of what is there now.


def test_another_batch_size_begins_with_a_new_draw(trainer, tmp_path):
    twin = trainer()
    twin.insert(100)
    twin.train(3)
    twin.move(tmp_path / "saved")
    assert next(iter(twin.replay.dataset(5)))["x"].shape == (5,)


@pytest.mark.parametrize("batches", [-1, 35, 1000])
def test_batches_that_cannot_have_been_used(batches, trainer, tmp_path):
    twin = trainer()
    twin.insert(100)
    twin.train(3)
    with pytest.raises(
        ArgumentError, match=f"batches={batches} cannot have been used: 0 and .*(34|16)"
    ):
        twin.replay.save(tmp_path, batches)


def counters(replay):
    info = replay.info()
    limiter = info.rate_limiter_info
    return (
        replay.size,
        info.current_size,
        limiter.insert_stats.completed,
        limiter.sample_stats.completed,
        getattr(info, "num_unique_samples", None),  # A server's.
    )


def settled_counters(replay):
    """Reverb samples an item ahead of what is asked for, a moment later."""
    before, after = None, counters(replay)
    while before != after:
        time.sleep(0.05)
        before, after = after, counters(replay)
    return after


def items(directory):
    """(key, priority, times sampled) of every saved item, the oldest first."""
    from reverb.cc import schema_pb2

    records = tf.data.TFRecordDataset(str(directory / "table" / "items.tfrecord"), "ZLIB")
    parsed = [schema_pb2.PrioritizedItem.FromString(r) for r in records.as_numpy_iterator()]
    return [(item.key, item.priority, item.times_sampled) for item in parsed]


@pytest.mark.reverb
@pytest.mark.fault(50)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_counters_and_priorities_are_restored(seed, trainer, tmp_path):
    twin = trainer(seed)
    twin.insert(700)
    twin.train(50)
    del twin.batches
    before = settled_counters(twin.replay)
    assert before[:3] == (CAPACITY, 4, 20)
    assert before[3] > 4
    twin.move(tmp_path / "first")
    assert counters(twin.replay) == before
    twin.save(tmp_path / "second")
    assert items(tmp_path / "second") == items(tmp_path / "first")
    assert len(items(tmp_path / "first")) == 4


@pytest.mark.local
@pytest.mark.fault(50)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_a_ring_is_restored_to_the_row(seed, trainer, tmp_path):
    twin = trainer(seed)
    twin.insert(CAPACITY + 50)
    twin.train(5)
    del twin.batches
    before = twin.replay.info()
    assert before.current_size == twin.replay.size == CAPACITY
    assert before.rate_limiter_info.insert_stats.completed == CAPACITY + 50
    twin.move(tmp_path / "saved")
    assert twin.replay.info() == before
    assert set(np.ravel(twin.train(34 * 20))) == set(range(50, CAPACITY + 50))
    twin.insert(13)
    twin.begin()
    assert set(np.ravel(twin.train(34 * 20))) == set(range(63, CAPACITY + 63))


@pytest.mark.reverb
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_contents_are_restored_to_the_row(seed, trainer, tmp_path):
    twin = trainer(seed)
    twin.insert(34 * 6 + 20)
    twin.move(tmp_path / "saved")
    assert set(np.ravel(twin.train(34 * 20))) == set(range(34 * 2, 34 * 6))
    twin.insert(13)  # The block that was begun is one short.
    twin.replay.flush()
    assert twin.replay.info().rate_limiter_info.insert_stats.completed == 6
    twin.insert(1)
    twin.replay.flush()
    assert twin.replay.info().rate_limiter_info.insert_stats.completed == 7
    assert counters(twin.replay)[:2] == (CAPACITY, 4)
    twin.begin()
    assert set(np.ravel(twin.train(34 * 20))) == set(range(34 * 3, 34 * 7))


def test_an_open_replay_takes_over_what_was_saved(trainer, store, tmp_path):
    twin = trainer()
    twin.insert(100)
    saved = twin.save(tmp_path / "saved")
    twin.insert(100)
    twin.replay.open(SPEC, seed=0, checkpoint=saved)
    rows, saved = (34, 68) if store == "reverb" else (1, 100)
    assert twin.replay.size == twin.replay.info().current_size * rows == saved


def test_saving_does_not_disturb(trainer, uninterrupted, tmp_path):
    twin, drawn = trainer(), []
    for step in range(12):
        drawn += twin.run(1)
        twin.save(tmp_path / str(step))
    np.testing.assert_array_equal(drawn, uninterrupted[: len(drawn)])


@pytest.mark.slow
@pytest.mark.fault(49)
def test_going_on_in_another_process(trainer, uninterrupted, run_python, store, tmp_path):
    twin = trainer()
    drawn = twin.run(13)
    twin.save(tmp_path / "saved")
    output = run_python(
        f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]!r}
from test_contents import *
twin = Trainer(store={store!r})
twin.replay.open(SPEC, 0, Path({str(tmp_path / "saved")!r}))
twin.inserted = {twin.inserted}
print("drawn", np.array(twin.run(17)).tobytes().hex())
twin.replay.close()
"""
    )
    (line,) = [line for line in output.splitlines() if line.startswith("drawn")]
    rest = np.frombuffer(bytes.fromhex(line.split()[1]), np.int64).reshape(-1, BATCH)
    np.testing.assert_array_equal([*drawn, *rest], uninterrupted)


# -- what is refused --------------------------------------------------------------------------


def other_settings():
    one = {"x": tf.TensorSpec((), tf.int64), "y": tf.TensorSpec((4,), tf.float32)}
    other = {"x": tf.TensorSpec((), tf.int64), "z": tf.TensorSpec((3,), tf.float32)}
    return [
        (CAPACITY * 2, SPEC, 0, [r"capacity +272 +136"]),
        (100, SPEC, 0, [r"capacity +100 +136"]),
        (CAPACITY, SPEC, None, [r"repeatable +False +True"]),
        (CAPACITY, one, 0, [r"transition.y +float32 \[4\] +float32 \[3\]"]),
        (CAPACITY, other, 0, [r"transition.z +float32 \[3\] +\(absent\)", r"transition.y"]),
    ]


@pytest.mark.fault(38)
@pytest.mark.parametrize(("capacity", "spec", "seed", "rows"), other_settings())
def test_other_settings_are_listed_and_nothing_is_changed(
    capacity, spec, seed, rows, trainer, store, tmp_path
):
    if (store, capacity) == ("reverb", 100):
        rows = [*rows, r"rows in a block +50 +34"]
    twin = trainer()
    twin.insert(100)
    saved = twin.save(tmp_path / "saved")
    with Uniform(capacity) as replay:
        replay.open(SPEC, seed=1)
        replay.insert(replay.packer.rows(64))
        replay.flush()
        before = settled_counters(replay)
        with pytest.raises(MismatchError, match="was saved with other settings") as error:
            replay.open(spec, seed, checkpoint=saved)
        for row in rows:
            error.match(row)
        assert str(error.value).count("\n") == len(rows) + 2
        assert counters(replay) == before


def cut(name, left):
    def damage(directory):
        data = (directory / name).read_bytes()
        (directory / name).write_bytes(data[:left])

    return damage


def flip(name):
    def damage(directory):
        data = bytearray((directory / name).read_bytes())
        data[len(data) // 2] ^= 16
        (directory / name).write_bytes(data)

    return damage


def drop_a_record(directory):
    path = str(directory / "table" / "items.tfrecord")
    records = list(tf.data.TFRecordDataset(path, "ZLIB").as_numpy_iterator())
    with tf.io.TFRecordWriter(path, "ZLIB") as writer:
        for record in records[1:]:
            writer.write(record)


def change_state(**changes):
    def damage(directory):
        state = json.loads((directory / "state.json").read_text())
        (directory / "state.json").write_text(json.dumps({**state, **changes}))

    return damage


FILES = {
    "reverb": ["table/tables.tfrecord", "table/items.tfrecord", "table/chunks.tfrecord"],
    "local": ["table/rows"],
}


def damages_of(store):
    return {
        f"{name} {what}": damage
        for name in FILES[store]
        for what, damage in {
            **{f"cut to {left}": cut(name, left) for left in (0, 10, -20)},
            "with a flipped bit": flip(name),
            "gone": lambda directory, name=name: (directory / name).unlink(),
        }.items()
    }


DAMAGES_OF_BLOCKS = {
    **damages_of("reverb"),
    "a record gone": drop_a_record,
    "rows of another size": change_state(pending={"__array__": "1"}),
}
DAMAGES_OF_RINGS = {
    **damages_of("local"),
    "more rows": change_state(inserted=101),
    "as many rows as there are not": change_state(inserted="many"),
}
DAMAGES = {
    "all of the table gone": lambda d: shutil.rmtree(d / "table"),
    "state.json cut": cut("state.json", 40),
    "state.json gone": lambda d: (d / "state.json").unlink(),
    "state.npz cut": cut("state.npz", -30),
    "state.npz gone": lambda d: (d / "state.npz").unlink(),
    "no settings": lambda d: (d / "state.json").write_text("{}"),
    "no sampler": change_state(sampler={}),
    "another sampler": change_state(sampler=[1, 2]),
}


@pytest.mark.reverb
@pytest.mark.parametrize("damage", DAMAGES_OF_BLOCKS)
@pytest.mark.table
def test_damage_to_blocks(damage, trainer, tmp_path, monkeypatch):
    import reverb

    ports = []
    start = reverb.Server.__init__

    def noted(self, *args, port, **kwargs):
        ports.append(port)
        start(self, *args, port=port, **kwargs)

    monkeypatch.setattr(reverb.Server, "__init__", noted)
    check_damage(DAMAGES_OF_BLOCKS[damage], trainer, tmp_path, monkeypatch, ports)


@pytest.mark.local
@pytest.mark.parametrize("damage", DAMAGES_OF_RINGS)
def test_damage_to_a_ring(damage, trainer, tmp_path, monkeypatch):
    check_damage(DAMAGES_OF_RINGS[damage], trainer, tmp_path, monkeypatch)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_an_error_and_leaves_nothing_open(damage, trainer, tmp_path, monkeypatch):
    check_damage(DAMAGES[damage], trainer, tmp_path, monkeypatch)


def check_damage(damage, trainer, tmp_path, monkeypatch, ports=()):
    twin = trainer()
    twin.insert(100)
    twin.train(1)
    saved = twin.save(tmp_path / "saved")
    twin.replay.close()
    damage(saved)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Uniform(CAPACITY) as replay:
        with pytest.raises(LoadError):
            replay.open(SPEC, seed=0, checkpoint=saved)
        assert replay.size == 0
        assert [path.name for path in tmp_path.iterdir()] == ["saved"]
        deadline = time.monotonic() + 10
        while any(map(is_listened_on, ports)):
            assert time.monotonic() < deadline
        replay.open(SPEC, seed=0)  # It is as good as new.
        assert replay.size == replay.info().current_size == 0


# -- what cannot be written -------------------------------------------------------------------


@pytest.mark.fault(47)
@pytest.mark.thorough
def test_a_full_disk_is_an_error_and_the_replay_goes_on(run_python, store, tmp_path):
    """Reverb itself does not notice when it is the end of a file that has no room."""
    output = run_python(
        f"""
import resource, sys
from pathlib import Path
sys.path[:0] = {[str(p) for p in Path(__file__).parents[:2]]!r}
from test_contents import *
from kerasrl.errors import SaveError
twin, directory = Trainer(store={store!r}), Path({str(tmp_path)!r})
twin.run(5)
whole = twin.save(directory / "whole")
sizes = [path.stat().st_size for path in whole.rglob("*") if path.is_file()]
limits = sorted({{1, 50, *(size - 1 for size in sizes if size)}})
assert max(sizes) > 1500
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        twin.save(directory / str(limit))
    except SaveError as error:
        assert "could not be written" in str(error), error
    else:
        raise AssertionError(limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
drawn = twin.run(3)
twin.move(directory / "again")
print("refused", len(limits), np.array([*drawn, *twin.run(3)]).tobytes().hex())
twin.replay.close()
"""
    )
    refused, drawn = re.search(r"refused (\d+) (\w+)", output).groups()
    assert int(refused) >= 5
    twin = Trainer()
    expected = twin.run(11)[-30:]
    twin.replay.close()
    assert np.array(expected).tobytes().hex() == drawn


def test_a_place_that_cannot_be_written_to(trainer, tmp_path):
    twin = trainer()
    twin.insert(100)
    with pytest.raises(SaveError, match="could not be written: No such file or directory"):
        twin.replay.save(tmp_path / "nowhere", 0)
    twin.save(tmp_path / "saved")
