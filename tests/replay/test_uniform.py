import functools
import gc
import math
import os
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kerasrl import envs
from kerasrl.errors import ArgumentError, KerasRLError, ReplayError
from kerasrl.policies import PolicyStep
from kerasrl.replay import TransitionWriter, Uniform, transition_spec
from kerasrl.testing import RandomEnv, nested_space

SPEC = {"x": tf.TensorSpec((), tf.int64)}
SEEDS = [None, 0]


def insert(replay, start, stop):
    """Inserts the transitions start, start + 1, ... stop - 1."""
    rows = replay.packer.rows(stop - start)
    rows[replay.packer.fields["x"][0]] = np.arange(start, stop)
    replay.insert(rows)


def filled(capacity, count, seed=None, chunk=None, store="auto"):
    replay = Uniform(capacity, store=store)
    replay.open(SPEC, seed)
    for start in range(0, count, chunk or count):
        insert(replay, start, min(start + (chunk or count), count))
    replay.flush()
    return replay


def take(replay, batches, batch_size):
    return [batch["x"].numpy() for batch in replay.dataset(batch_size).take(batches)]


def block_rows(replay):
    """Transitions in an item of the table: a local one has no blocks."""
    return replay.info().signature.shape[0] if replay.store == "reverb" else 1


def stored(replay):
    """What can be sampled, by sampling until all of it has very likely been seen."""
    rows = block_rows(replay)
    # Missing one block of 8 in 256 draws has a chance of 1e-14.
    draws = 32 * (replay.size // rows)
    batches = (rows, draws) if rows > 1 else (draws // 32 + 1, 32)
    return sorted(set(np.concatenate(take(replay, *batches)).tolist()))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("capacity", [32, 48, 64, 100, 150, 192])
@pytest.mark.table
def test_the_oldest_go_first_and_capacity_counts_transitions(seed, capacity):
    with filled(capacity, 3 * capacity, seed, chunk=7) as replay:
        assert replay.size == capacity
        assert replay.info().current_size * block_rows(replay) == capacity
        assert stored(replay) == list(range(2 * capacity, 3 * capacity))


@pytest.mark.parametrize("capacity", [1, 2, 5, 31, 37, 127, 1009])
def test_a_capacity_without_a_divisor_is_never_exceeded(capacity):
    with filled(capacity, 2 * capacity + 70) as replay:
        rows = block_rows(replay)
        assert replay.size == replay.info().current_size * rows
        assert capacity - rows < replay.size <= capacity


@pytest.mark.parametrize("seed", SEEDS)
def test_size_agrees_with_the_server_all_the_way(seed):
    replay = Uniform(320)
    with replay:
        replay.open(SPEC, seed)
        assert replay.size == 0
        for start in range(0, 5_000, 50):
            insert(replay, start, start + 50)
            replay.flush()
            assert replay.size == replay.info().current_size * block_rows(replay)
        assert replay.size == 320


@pytest.mark.table
def test_unsampled_inserts_go_on_for_ever():
    """The writer is flushed now and then, so that no more than a few blocks are ever on the way."""
    with filled(1_024, 200_000, chunk=1_000) as replay:
        assert replay.info().current_size * block_rows(replay) == replay.size == 1_024
        oldest = min(stored(replay))
        assert 200_000 - 1_024 - block_rows(replay) <= oldest <= 200_000 - 1_024


@pytest.mark.reverb
def test_what_is_not_a_whole_block_waits():
    with filled(320, 64) as replay:
        rows = block_rows(replay)
        before = replay.size
        insert(replay, 64, 64 + rows - 1)
        assert replay.size == before
        insert(replay, 64 + rows - 1, 64 + rows)
        assert replay.size == before + rows


# -- sampling ---------------------------------------------------------------------------------


def chi_square_bounds(degrees, z=4.75):
    """Where chi-square falls but for one time in a million on either side (Wilson and Hilferty)."""
    spread = 2 / (9 * degrees)
    return [degrees * (1 - spread + side * z * math.sqrt(spread)) ** 3 for side in (-1, 1)]


def assert_uniform(counts):
    counts = np.ravel(counts)
    expected = counts.sum() / counts.size
    assert expected >= 5
    statistic = ((counts - expected) ** 2).sum() / expected
    low, high = chi_square_bounds(counts.size - 1)
    assert low < statistic < high


def assert_rate(hits, trials, rate, z=5.0):
    assert abs(hits - trials * rate) < z * math.sqrt(trials * rate * (1 - rate)) + 1


CAPACITY = 17 * 67  # Blocks of 17 rows, and 67 of them.
GROUPS = 80
BATCH = 512


@functools.cache
def drawn(store, seed):
    with filled(CAPACITY, 2 * CAPACITY, seed, store=store) as replay:
        assert block_rows(replay) == (17 if store == "reverb" else 1)
        batches = np.array(take(replay, GROUPS * 17, BATCH)) - CAPACITY
    return batches.reshape(GROUPS, 17, BATCH)


@pytest.fixture(params=SEEDS)
def draws(request, store):
    """int `[GROUPS, K, BATCH]`: successive batches, K of which share their blocks in a server."""
    return drawn(store, request.param)


def test_a_batch_is_a_uniform_draw(draws):
    """Of every K batches that share blocks, one: these are all independent."""
    for j in (0, 8, 16):
        assert_uniform(np.bincount(draws[:, j].ravel(), minlength=CAPACITY))


@pytest.mark.reverb
def test_blocks_are_drawn_uniformly_and_each_gives_all_its_rows(draws):
    block, row = np.divmod(draws, 17)
    assert (block == block[:, :1]).all()
    assert (np.sort(row, axis=1) == np.arange(17)[:, np.newaxis]).all()
    assert_uniform(np.bincount(block[:, 0].ravel(), minlength=67))


def test_rows_of_a_batch_are_independent(draws):
    block, row = np.divmod(draws[:, 3], 17)
    pairs = GROUPS * BATCH // 2
    assert_rate((block[:, ::2] == block[:, 1::2]).sum(), pairs, 1 / 67)
    assert_rate((draws[:, 3, ::2] == draws[:, 3, 1::2]).sum(), pairs, 1 / CAPACITY)
    joint = np.bincount((17 * row[:, ::2] + row[:, 1::2]).ravel(), minlength=17 * 17)
    assert_uniform(joint)


@pytest.mark.local
def test_successive_batches_are_independent(draws):
    first, second = draws[:, ::2, :64][:, :8].ravel(), draws[:, 1::2, :64].ravel()
    assert_rate((first == second).sum(), len(first), 1 / CAPACITY)
    assert_uniform(np.bincount(draws.ravel(), minlength=CAPACITY))


@pytest.mark.reverb
def test_successive_batches_of_the_same_blocks_shuffle_their_rows(draws):
    row = draws % 17
    joint = np.bincount((17 * row[:, 3] + row[:, 4]).ravel(), minlength=17 * 17).reshape(17, 17)
    assert (np.diag(joint) == 0).all()  # No row twice.
    assert_uniform(joint[~np.eye(17, dtype=bool)])


def test_groups_of_batches_are_independent(draws):
    first, second = draws[:-1:2, 16, :64].ravel(), draws[1::2, 0, :64].ravel()
    assert_rate((first // 17 == second // 17).sum(), len(first), 1 / 67)


def test_the_check_itself_would_notice():
    rng = np.random.default_rng(0)
    fair = rng.integers(67, size=40_000)
    assert_uniform(np.bincount(fair, minlength=67))
    for unfair in (np.where(fair == 0, 1, fair), np.arange(40_000) % 67, fair[: 67 * 4]):
        with pytest.raises(AssertionError):
            assert_uniform(np.bincount(unfair, minlength=67))


# -- seeds ------------------------------------------------------------------------------------


def seeded_run(seed):
    """Inserts and draws in turn, as training does; past the capacity."""
    drawn = []
    with filled(96, 32, seed) as replay:
        batches = iter(replay.dataset(8))
        for start in range(32, 400, 20):
            insert(replay, start, start + 20)
            drawn += [next(batches)["x"].numpy() for _ in range(3)]
    return np.array(drawn)


@pytest.mark.table
def test_a_seed_makes_batches_repeatable():
    first = seeded_run(1)
    np.testing.assert_array_equal(seeded_run(1), first)
    assert (seeded_run(2) != first).any()


def test_a_seed_given_to_an_open_replay_begins_anew():
    with filled(64, 64, seed=1) as replay:
        first = take(replay, 5, 8)
        further = take(replay, 5, 8)
        replay.open(SPEC, seed=1)
        np.testing.assert_array_equal(take(replay, 5, 8), first)
        assert (np.array(further) != first).any()
        replay.open(SPEC)
        take(replay, 1, 8)


def test_a_seed_comes_too_late_for_an_open_replay():
    with (
        filled(64, 64) as replay,
        pytest.raises(ReplayError, match=r"opened without a seed, so that seed=3 cannot"),
    ):
        replay.open(SPEC, seed=3)


@pytest.mark.thorough
def test_the_seeded_sampler_never_returns_what_was_dropped():
    with filled(48, 48, seed=0) as replay:
        rows = max(24, block_rows(replay))
        for start in range(48, 48 + 40 * rows, rows):
            insert(replay, start, start + rows)
            batch = np.concatenate(take(replay, rows, 16))
            assert start + rows - 48 <= batch.min()
            assert batch.max() < start + rows
        assert batch.max() >= start  # Nor does it miss what is new.


def test_inserts_and_draws_at_once():
    """Data pipelines may draw from another thread while this one inserts."""
    with filled(64, 64, seed=0) as replay:
        stop = threading.Event()
        drawn = []

        def draw():
            for batch in replay.dataset(8):
                drawn.append(batch["x"].numpy())
                if stop.is_set():
                    return

        thread = threading.Thread(target=draw)
        thread.start()
        for start in range(64, 64 + 20 * 64, 64):
            insert(replay, start, start + 64)
        stop.set()
        thread.join(timeout=20)
        assert not thread.is_alive()
        assert drawn


def test_an_empty_seeded_replay_says_so():
    with Uniform(64) as replay:
        replay.open(SPEC, seed=0)
        with pytest.raises(tf.errors.OpError, match="ReplayError: the replay is empty"):
            next(iter(replay.dataset(4)))


def test_a_closed_seeded_replay_says_so():
    with filled(64, 64, seed=0) as replay:
        batches = iter(replay.dataset(4))
        next(batches)
    with pytest.raises(tf.errors.OpError, match="ReplayError: the replay .* is closed"):
        for _ in range(200):
            next(batches)


# -- contents ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_transitions_come_back_whole(seed):
    environments = envs.make(lambda: RandomEnv(), 2)
    spec = transition_spec(environments.spec)
    with Uniform(64) as replay:
        replay.open(spec, seed)
        writer = TransitionWriter(replay, 2, 1, 0.9)
        written = {}
        observation = environments.reset(seed=0)
        for _ in range(32):
            action = np.array([0, 1])
            step = environments.step(action)
            writer.append(observation, PolicyStep(action), step)
            for i in range(2):
                key = tuple(leaf[i].tobytes() for leaf in observation)
                leaves = [leaf[i].copy() for leaf in step.next_observation]
                written[key] = (action[i], step.reward[i], leaves)
            observation = step.observation
        replay.flush()
        dataset = replay.dataset(16)
        assert dataset.element_spec == tf.nest.map_structure(
            lambda leaf: tf.TensorSpec((16, *leaf.shape), leaf.dtype), spec
        )
        batch = next(iter(dataset))
    observations = [leaf.numpy() for leaf in tf.nest.flatten(batch["observation"])]
    following = [leaf.numpy() for leaf in tf.nest.flatten(batch["next_observation"])]
    for i in range(16):
        action, reward, leaves = written[tuple(leaf[i].tobytes() for leaf in observations)]
        assert batch["action"][i] == action
        assert batch["reward"][i] == reward
        for leaf, expected in zip(following, leaves, strict=True):
            np.testing.assert_array_equal(leaf[i], expected)


def test_images_stay_bytes_all_the_way():
    space = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    environments = envs.make(RandomEnv(space))
    with Uniform(32) as replay:
        replay.open(transition_spec(environments.spec))
        image = 84 * 84 * 4
        assert replay.packer.dtype.itemsize == 2 * image + 8 + 4 + 4
        writer = TransitionWriter(replay, 1, 1, 0.9)
        observation = environments.reset(seed=0)
        seen = set()
        for _ in range(32):
            seen.add(observation[0].tobytes())
            step = environments.step(np.zeros(1, int))
            writer.append(observation, PolicyStep(np.zeros(1, int)), step)
            observation = step.observation
        replay.flush()
        batch = next(iter(replay.dataset(8)))
    assert batch["observation"].dtype == batch["next_observation"].dtype == tf.uint8
    assert {leaf.tobytes() for leaf in batch["observation"].numpy()} <= seen


@pytest.mark.slow
def test_memory_is_that_of_the_transitions(run_python):
    script = """
import numpy as np, tensorflow as tf
from kerasrl.replay import Uniform

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def fill(count):
    rows = replay.packer.rows(1000)
    rng = np.random.default_rng(0)
    for _ in range(count // 1000):
        for field in rows.dtype.names:
            rows[field] = rng.random(rows[field].shape, np.float32)
        replay.insert(rows)
    replay.flush()

count = 800_000
replay = Uniform(count)
replay.open({"observation": tf.TensorSpec((30,)), "next_observation": tf.TensorSpec((30,))})
fill(10_000)
before = resident()
fill(count - 10_000)
full = resident()
fill(count)
raw = 240 * (count - 10_000)
print("measured", (full - before) / raw, (resident() - before) / raw)
replay.close()
"""
    (line,) = [line for line in run_python(script).splitlines() if line.startswith("measured")]
    filled_once, filled_twice = map(float, line.split()[1:])
    assert 0.5 < filled_once < 1.3
    assert filled_twice < 1.4  # What is freed is in pieces.


# -- life cycle -------------------------------------------------------------------------------


def test_opening_again_keeps_what_is_there():
    with filled(64, 64) as replay:
        replay.open(dict(SPEC))
        assert replay.size == 64


@pytest.mark.parametrize(
    "spec",
    [
        {"x": tf.TensorSpec((), tf.int32)},
        {"x": tf.TensorSpec((1,), tf.int64)},
        {"y": tf.TensorSpec((), tf.int64)},
        {"x": (tf.TensorSpec((), tf.int64),)},
    ],
)
def test_opening_again_with_another_spec(spec):
    with filled(64, 64) as replay:
        with pytest.raises(ReplayError, match="another shape: it was opened for .*is now asked"):
            replay.open(spec)
        assert replay.size == 64


def test_a_closed_replay_may_be_opened_with_any_spec():
    replay = filled(64, 70)
    replay.close()
    assert replay.size == 0
    with replay:
        replay.open({"y": tf.TensorSpec((2,), tf.float32)}, seed=0)
        assert replay.size == 0
        replay.insert(replay.packer.rows(64))
        assert next(iter(replay.dataset(4)))["y"].shape == (4, 2)


@pytest.mark.parametrize(
    "use",
    [
        lambda replay: replay.insert(np.zeros(1)),
        lambda replay: replay.flush(),
        lambda replay: replay.dataset(1),
        lambda replay: replay.info(),
    ],
)
@pytest.mark.parametrize("closed", [False, True])
def test_a_replay_that_is_not_open(use, closed):
    replay = Uniform(64)
    if closed:
        replay.open(SPEC)
        replay.close()
    with pytest.raises(ReplayError, match=r"not open; fit\(\) opens it, or call open\(spec\)") as e:
        use(replay)
    assert isinstance(e.value, RuntimeError)
    assert isinstance(e.value, KerasRLError)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "many", None])
def test_capacity_must_be_positive(capacity):
    with pytest.raises(ArgumentError, match="capacity must be a positive int.*received") as error:
        Uniform(capacity)
    assert isinstance(error.value, ValueError)


def test_closing_twice_and_before_opening():
    replay = Uniform(64)
    replay.close()
    replay.open(SPEC)
    replay.close()
    replay.close()


def test_two_replays_in_one_process(store):
    with filled(64, 64) as first, filled(64, 64, seed=0) as second, filled(64, 64) as third:
        insert(second, 64, 128)
        third.close()
        assert max(stored(first)) == 63
        assert min(stored(second)) == 64
        if store == "local":
            return
        assert first._table.server.port != second._table.server.port


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.table
def test_closing_under_a_live_iterator_does_not_hang(seed):
    def run():
        replay = filled(64, 64, seed)
        batches = iter(replay.dataset(4))
        next(batches)
        replay.close()
        del batches
        gc.collect()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_process_with_an_open_replay_ends(run_python):
    output = run_python(
        """
import tensorflow as tf
from kerasrl.replay import Uniform
replays = [Uniform(64), Uniform(64)]
for replay, seed in zip(replays, (None, 0)):
    replay.open({"x": tf.TensorSpec((), tf.int64)}, seed)
    replay.insert(replay.packer.rows(64))
    replay.flush()
batches = [iter(replay.dataset(4)) for replay in replays]
print([next(batch)["x"].shape[0] for batch in batches])
""",
        timeout=60,
    )
    assert "[4, 4]" in output


@pytest.mark.thorough
def test_nothing_is_left_of_many_replays(monkeypatch, tmp_path):
    def use(seed):
        with filled(64, 64, seed) as replay:
            next(iter(replay.dataset(4)))

    def held():
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    for seed in SEEDS:  # What is made once for the whole process is made now.
        use(seed)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptors, threads = held()
    for _ in range(10):
        for seed in SEEDS:
            use(seed)
    end = time.monotonic() + 10
    while held()[0] > descriptors + 2 or held()[1] > threads + 2:
        assert time.monotonic() < end, (held(), descriptors, threads)
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []


def test_nested_observations_have_a_spec():
    spec = transition_spec(envs.EnvSpec(nested_space(), gym.spaces.Discrete(2)))
    with Uniform(32) as replay:
        replay.open(spec)
        replay.insert(replay.packer.rows(32))
        tf.nest.assert_same_structure(next(iter(replay.dataset(2))), spec)
