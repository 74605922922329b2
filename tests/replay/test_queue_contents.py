import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import ArgumentError, LoadError, MismatchError
from kerasrl.replay import Queue

T, N = 6, 2
SPEC = {"x": tf.TensorSpec((T, N), tf.int64), "id": tf.TensorSpec((T, N), tf.int32)}


class Learner:
    """Inserts rollouts and learns from each, and may be saved and gone on with elsewhere."""

    def __init__(self, batch_size=4, epochs=3):
        self.pace = {"batch_size": batch_size, "epochs": epochs}
        self.per_rollout = epochs * (T * N // (batch_size or T * N))
        self.queue = Queue()
        self.queue.open(SPEC, seed=0)
        self.rollouts = self.steps = 0
        self.begin()

    def begin(self):
        self.batches, self.trained = None, 0

    def insert(self):
        rollout = self.queue.packer.rows(1)
        rollout[self.queue.packer.fields["x"][0]] = np.arange(T * N).reshape(1, T, N)
        rollout[self.queue.packer.fields["id"][0]] = self.rollouts
        self.queue.insert(rollout)
        self.rollouts += 1

    def learn(self, steps):
        learned = []
        for _ in range(steps):
            if self.steps == self.rollouts * self.per_rollout:
                self.insert()
            if self.batches is None:
                self.batches = iter(self.queue.dataset(lambda rollout: rollout, **self.pace))
            batch = next(self.batches)
            learned.append([*batch["id"].numpy(), *batch["x"].numpy()])
            self.trained += 1
            self.steps += 1
        return learned

    def save(self, directory):
        directory.mkdir()
        self.queue.save(directory, self.trained)
        return directory

    def move(self, directory):
        """Saves, closes, and goes on with a new queue."""
        self.save(directory)
        self.queue.close()
        self.queue = Queue()
        self.queue.open(SPEC, seed=99, checkpoint=directory)
        self.begin()


@pytest.fixture
def learner():
    learners = []

    def make(*args, **kwargs):
        learners.append(Learner(*args, **kwargs))
        return learners[-1]

    yield make
    for made in learners:
        made.queue.close()


@pytest.mark.fault(49)
@pytest.mark.fault(50)
@pytest.mark.parametrize(("batch_size", "epochs"), [(4, 3), (None, 1), (None, 2)])
@pytest.mark.parametrize("cuts", [[0], [9], [4, 5, 8, 18, 20, 29]])
@pytest.mark.thorough
def test_saved_and_gone_on_with_equals_uninterrupted(batch_size, epochs, cuts, learner, tmp_path):
    expected = learner(batch_size, epochs).learn(32)
    twin, learned = learner(batch_size, epochs), []
    for number, cut in enumerate(cuts):
        learned += twin.learn(cut - len(learned))
        twin.move(tmp_path / str(number))
    learned += twin.learn(32 - len(learned))
    np.testing.assert_array_equal(learned, expected)


@pytest.mark.table
def test_a_rollout_that_was_not_fetched_is_kept(learner, tmp_path):
    expected = learner().learn(12)
    twin = learner()
    twin.insert()
    twin.move(tmp_path / "first")
    assert twin.queue.info().current_size == 1
    learned = twin.learn(9)
    twin.insert()
    twin.move(tmp_path / "second")
    np.testing.assert_array_equal(learned + twin.learn(3), expected)


@pytest.mark.table
def test_minibatches_that_were_asked_for_ahead_of_time_are_not_lost(learner, tmp_path):
    twin = learner()
    learned = twin.learn(9)
    twin.insert()
    learned += twin.learn(4)
    twin.trained = 7
    twin.move(tmp_path / "saved")
    np.testing.assert_array_equal(twin.learn(6), learned[7:])


@pytest.mark.fault(50)
def test_counters_are_restored(learner, tmp_path):
    twin = learner()
    twin.learn(20)

    def counters():
        info = twin.queue.info()
        limiter = info.rate_limiter_info
        return info.current_size, limiter.insert_stats.completed, limiter.sample_stats.completed

    assert counters() == (0, 3, 3)
    twin.move(tmp_path / "first")
    assert counters() == (0, 3, 3)
    twin.learn(8)
    assert counters() == (0, 4, 4)


@pytest.mark.parametrize("batches", [-1, 18, 27])
@pytest.mark.table
def test_minibatches_that_cannot_have_been_learned_from(batches, learner, tmp_path):
    twin = learner()
    twin.learn(2)
    with pytest.raises(ArgumentError, match="rollouts cannot have been learned from: 1 were"):
        twin.queue.save(tmp_path, batches)


@pytest.mark.fault(38)
@pytest.mark.table
def test_another_pace_within_a_rollout_is_refused(learner, tmp_path):
    twin = learner(batch_size=4, epochs=3)
    twin.learn(2)
    twin.move(tmp_path / "saved")
    with pytest.raises(MismatchError, match=r"batch_size +6 +4\n +epochs +5 +3\n"):
        twin.queue.dataset(lambda rollout: rollout, 6, 5)
    twin.learn(7)
    twin.move(tmp_path / "between")
    twin.pace = {"batch_size": 6, "epochs": 5}
    assert len(twin.learn(2)[0]) == 12


@pytest.mark.fault(38)
def test_other_rollouts_are_refused_and_nothing_is_changed(learner, tmp_path):
    saved = learner()
    saved.learn(2)
    saved.save(tmp_path / "saved")
    with Queue() as queue:
        queue.open(SPEC)
        table = queue._table
        with pytest.raises(MismatchError, match=r"rollout.x +int32 \[6, 2\] +int64 \[6, 2\]"):
            queue.open(SPEC | {"x": tf.TensorSpec((T, N), tf.int32)}, 0, tmp_path / "saved")
        assert queue._table is table
        queue.info()


FILES = {
    "reverb": ["table/items.tfrecord", "table/chunks.tfrecord"],
    "local": ["table/items.json", "table/items.npz"],
}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_damage_is_an_error(number, learner, store, tmp_path):
    name = ["state.json", *FILES[store]][number]
    twin = learner()
    twin.insert()
    saved = twin.save(tmp_path / "saved")
    (saved / name).write_bytes((saved / name).read_bytes()[:-20])
    with Queue() as queue:
        with pytest.raises(LoadError):
            queue.open(SPEC, checkpoint=saved)
        queue.open(SPEC)
