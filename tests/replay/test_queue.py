import gc
import os
import socket
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from leftovers import bound_devices

from kerasrl import envs
from kerasrl.errors import PortInUse, ReplayError
from kerasrl.policies import PolicySpec
from kerasrl.replay import Queue, rollout_spec
from kerasrl.testing import nested_space

T, N = 6, 2
SPEC = {"x": tf.TensorSpec((T, N), tf.int64), "id": tf.TensorSpec((T, N), tf.int32)}


def insert(queue, number):
    """Inserts a rollout in which `x` counts from 0 in time-major order, and `id` is `number`."""
    rollout = queue.packer.rows(1)
    rollout[queue.packer.fields["x"][0]] = np.arange(T * N).reshape(1, T, N)
    rollout[queue.packer.fields["id"][0]] = number
    queue.insert(rollout)


def learned(batch_size, epochs, rollouts, seed=None):
    """Trains on nothing: list of `(id, x)` of all minibatches of some rollouts, in their order."""
    batches = []
    with Queue() as queue:
        queue.open(SPEC, seed)
        iterator = iter(queue.dataset(lambda rollout: rollout, batch_size, epochs))
        for number in range(rollouts):
            insert(queue, number)
            for _ in range(epochs * (T * N // (batch_size or T * N))):
                batch = next(iterator)
                assert {leaf.shape[0] for leaf in batch.values()} == {batch_size or T * N}
                batches.append((set(batch["id"].numpy()), batch["x"].numpy()))
    return batches


@pytest.mark.parametrize("batch_size", [1, 4, 12, None])
@pytest.mark.table
def test_every_example_is_learned_from_once_in_every_epoch(batch_size):
    epochs, rollouts = 3, 2
    batches = learned(batch_size, epochs, rollouts)
    per_epoch = T * N // (batch_size or T * N)
    assert [ids for ids, _ in batches] == [
        {i} for i in range(rollouts) for _ in range(3 * per_epoch)
    ]
    orders = np.reshape([x for _, x in batches], (rollouts * epochs, T * N))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(T * N), (6, 1)))
    if batch_size is None:
        np.testing.assert_array_equal(orders, np.sort(orders, axis=1))
    else:
        assert len(np.unique(orders, axis=0)) == 6
        assert (orders != np.arange(T * N)).any(axis=1).all()


def test_orders_are_uniformly_random():
    # Where the first example ends up: 200 epochs, 12 places, so 16.7 expected for each.
    orders = np.reshape([x for _, x in learned(4, 200, 1, seed=0)], (200, T * N))
    counts = np.bincount(np.argmin(orders, axis=1), minlength=T * N)
    assert ((counts - 200 / 12) ** 2).sum() / (200 / 12) < 35.0  # Chi-square, 1 in 4000.


@pytest.mark.table
def test_a_seed_makes_the_orders_repeatable():
    first, second, other, free, free_again = (
        np.array([x for _, x in learned(4, 2, 2, seed)]) for seed in (0, 0, 1, None, None)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert (free != free_again).any()


@pytest.mark.parametrize("batch_size", [T * N, None])
@pytest.mark.table
def test_leaves_of_every_kind_travel_unchanged(batch_size):
    action_space = gym.spaces.MultiBinary((2, 3))
    spec = envs.EnvSpec(nested_space(), action_space)
    rng = np.random.default_rng(0)
    with Queue() as queue:
        queue.open(rollout_spec(spec, PolicySpec(tf.TensorSpec((4,), tf.float32)), T, N))
        rollout = queue.packer.rows(1)
        kinds = set()
        for name in rollout.dtype.names:
            leaf = rollout[name]
            kinds.add(leaf.dtype)
            leaf[:] = (
                rng.random(leaf.shape) < 0.5
                if leaf.dtype == bool
                else rng.integers(0, 256, (*leaf.shape, leaf.itemsize), np.uint8).view(leaf.dtype)[
                    ..., 0
                ]
                if leaf.dtype.kind in "iu"
                else rng.normal(size=leaf.shape).astype(leaf.dtype)
            )
        assert kinds == {np.dtype(d) for d in ["?", "u1", "i1", "i8", "f4", "f8"]}
        seen = []

        def examples(rollout):
            seen.append(tf.nest.map_structure(lambda leaf: leaf.shape, rollout))
            return rollout

        iterator = iter(queue.dataset(examples, batch_size, epochs=1))
        queue.insert(rollout)
        batch = next(iterator)
    # Examples are made of time-major tensors whose shapes are known.
    assert all(shape[:2] == (T, N) for shape in tf.nest.flatten(seen[0], expand_composites=True))
    assert seen[0]["action"] == (T, N, 2, 3)
    tf.nest.assert_same_structure(batch["observation"], spec.observation)
    expected = [rollout[name][0].reshape(T * N, -1) for name in rollout.dtype.names]
    received = [leaf.numpy().reshape(T * N, -1) for leaf in tf.nest.flatten(batch)]
    assert [leaf.dtype for leaf in received] == [leaf.dtype for leaf in expected]

    def rows(leaves):
        return [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(T * N)]

    if batch_size is None:
        assert rows(received) == rows(expected)
    else:
        assert rows(received) != rows(expected)  # The rows change places, and stay whole.
        assert sorted(rows(received)) == sorted(rows(expected))


def test_a_rollout_is_sampled_once_and_is_gone(store):
    with Queue() as queue:
        queue.open(SPEC)
        iterator = iter(queue.dataset(lambda rollout: rollout, 4, epochs=5))
        for number in range(3):
            insert(queue, number)
            for _ in range(15):
                assert set(next(iterator)["id"].numpy()) == {number}
            info = queue.info()
            assert store == "local" or info.num_unique_samples == number + 1
            assert info.rate_limiter_info.sample_stats.completed == number + 1
            assert info.rate_limiter_info.insert_stats.completed == number + 1
            assert info.current_size == 0


def test_batches_wait_for_a_rollout():
    received = []
    with Queue() as queue:
        queue.open(SPEC)
        iterator = iter(queue.dataset(lambda rollout: rollout))
        thread = threading.Thread(target=lambda: received.append(next(iterator)), daemon=True)
        thread.start()
        thread.join(0.2)
        assert not received
        insert(queue, 7)
        thread.join(10)
        assert set(received[0]["id"].numpy()) == {7}


@pytest.mark.table
def test_inserting_before_the_last_one_was_fetched_is_an_error():
    with Queue(timeout=0.5) as queue:
        queue.open(SPEC)
        iterator = iter(queue.dataset(lambda rollout: rollout))
        insert(queue, 0)
        next(iterator)
        insert(queue, 1)
        with pytest.raises(
            ReplayError, match="took in none .* held 1 items .* was not fetched. Insert one when"
        ):
            insert(queue, 2)
        assert set(next(iterator)["id"].numpy()) == {1}
        begin = time.monotonic()
    assert time.monotonic() - begin < 5


def free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("left", ["in the queue", "fetched"])
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.table
def test_opening_again_gives_an_empty_queue(fixed, left, store):
    """Whatever an old iterator holds, which an exception's traceback may keep alive."""
    with Queue(free_port() if fixed and store == "reverb" else None) as queue:
        queue.open(SPEC)
        old = iter(queue.dataset(lambda rollout: rollout, 4))
        insert(queue, 0)
        if left == "fetched":
            next(old)
        queue.open(SPEC)
        assert queue.info().current_size == 0
        new = iter(queue.dataset(lambda rollout: rollout, 4, epochs=2))
        for number in (1, 2, 3):
            insert(queue, number)
            for _ in range(6):
                assert set(next(new)["id"].numpy()) == {number}
        rest = [set(batch["id"].numpy()) for batch in old]
        assert rest == ([{0}, {0}] if left == "fetched" else [])


@pytest.mark.parametrize("end", ["finish", "close", "open"])
@pytest.mark.table
def test_what_waits_for_a_rollout_ends(end):
    with Queue() as queue:
        queue.open(SPEC)
        iterators = [iter(queue.dataset(lambda rollout: rollout)) for _ in range(2)]
        insert(queue, 0)
        next(iterators[0])
        ended = []
        threads = [
            threading.Thread(target=lambda it=it: ended.append(list(it)), daemon=True)
            for it in iterators
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.1)
        assert not ended
        {"finish": queue.finish, "close": queue.close, "open": lambda: queue.open(SPEC)}[end]()
        for thread in threads:
            thread.join(10)
        assert ended == [[], []]
        if end == "finish":
            assert queue.info().current_size == 0  # It is still open.
            assert list(queue.dataset(lambda rollout: rollout)) == []


def test_a_queue_that_is_not_open_says_so():
    queue = Queue()
    queue.close()
    queue.finish()
    for use in (queue.info, lambda: queue.insert(None), lambda: queue.dataset(lambda x: x)):
        with pytest.raises(ReplayError, match="not open; fit.. opens it, or call open"):
            use()
    with queue:
        queue.open(SPEC)
        queue.info()
    with pytest.raises(ReplayError, match="not open"):
        queue.info()


@pytest.mark.reverb
def test_the_port_is_on_loopback_only_and_is_freed():
    port = free_port()
    with Queue(port) as queue:
        queue.open(SPEC)
        assert set(bound_devices(port)) == {b"lo\0"}
        with pytest.raises(PortInUse, match=f"port {port} "):
            Queue(port).open(SPEC)
    with Queue(port) as again:
        again.open(SPEC)


@pytest.mark.thorough
def test_nothing_is_left_of_many_queues(monkeypatch, tmp_path):
    def held():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    learned(4, 1, 1)  # What is made once for the whole process is made now.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptors, threads = held()
    for _ in range(8):
        learned(4, 1, 1)
    end = time.monotonic() + 10
    while held()[0] > descriptors + 2 or held()[1] > threads + 2:
        assert time.monotonic() < end, (held(), descriptors, threads)
        time.sleep(0.05)
    assert os.listdir(tmp_path) == []
