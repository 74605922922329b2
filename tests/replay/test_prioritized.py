import collections
import time

import numpy as np
import pytest
import tensorflow as tf
from replay_items import ENV, SPEC, insert

from kerasrl.errors import ArgumentError, MismatchError, ReplayError
from kerasrl.experience import Sequences
from kerasrl.replay import Prioritized


def keys_of(replay, count):
    """The keys of all items, by their rewards."""
    found = {}
    for batch in replay.dataset(min(64, replay.size)):
        rewards, keys = batch["reward"].numpy(), batch["key"].numpy()
        found.update(zip(rewards.tolist(), keys.tolist(), strict=True))
        if len(found) == count:
            return found


def prioritized(capacity, exponent, importance_exponent, seed, priorities):
    """An open replay of items with the rewards 0, 1, 2, ... of these priorities, and their keys."""
    replay = Prioritized(capacity, exponent, importance_exponent)
    replay.open(SPEC, seed)
    insert(replay, np.arange(len(priorities)))
    keys = keys_of(replay, len(priorities))
    keys = np.array([keys[reward] for reward in range(len(priorities))])
    replay.update_priorities(keys, priorities)
    return replay, keys


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(("exponent", "importance_exponent"), [(0.6, 0.4), (1.0, 1.0), (0.0, 0.5)])
@pytest.mark.table
def test_sampling_probabilities_and_weights_against_numpy(seed, exponent, importance_exponent):
    priorities = np.array([0.5, 1.0, 2.0, 4.0, 8.0, 0.1])
    replay, _ = prioritized(16, exponent, importance_exponent, seed, priorities)
    counts, draws = np.zeros(6), 0
    probabilities = priorities**exponent / (priorities**exponent).sum()
    weights = (6 * probabilities) ** -importance_exponent
    with replay:
        for batch in replay.dataset(6).take(1000 if seed is None else 300):
            rewards = batch["reward"].numpy().astype(int)
            expected = weights[rewards] / weights[rewards].max()
            np.testing.assert_allclose(batch["weight"], expected, rtol=1e-4)
            counts += np.bincount(rewards, minlength=6)
            draws += len(rewards)
    # Four standard deviations.
    bound = 4 * np.sqrt(probabilities * (1 - probabilities) / draws)
    assert (np.abs(counts / draws - probabilities) < bound).all()


def test_the_format_of_a_batch():
    with Prioritized(16) as replay:
        replay.open(SPEC)
        insert(replay, range(8))
        batch = next(iter(replay.dataset(4)))
        assert replay.size == replay.info().current_size == 8
    assert set(batch) == {*SPEC, "key", "weight"}
    assert (batch["key"].dtype, batch["key"].shape) == (tf.int64, (4,))
    assert (batch["weight"].dtype, batch["weight"].shape) == (tf.float32, (4,))
    assert batch["weight"].numpy().tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.table
def test_new_items_have_the_highest_priority_there_has_been(seed):
    replay, keys = prioritized(4, 1.0, 0.0, seed, [8.0, 0.5, 0.5])
    with replay:
        replay.update_priorities(keys[:1], [1.0])
        insert(replay, [3])
        counts = collections.Counter()
        for batch in replay.dataset(4).take(300):
            counts.update(batch["reward"].numpy().tolist())
    # 8 of 1 + 0.5 + 0.5 + 8.
    assert counts[3.0] / 1200 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.table
def test_keys_of_items_that_are_gone_do_no_harm(seed):
    replay, keys = prioritized(4, 1.0, 0.0, seed, [1.0, 1.0, 1.0, 1.0])
    with replay:
        insert(replay, [4, 5])  # The first two are dropped.
        replay.update_priorities([*keys, 12345], [9.0, 9.0, 3.0, 1.0, 9.0])
        counts = collections.Counter()
        for batch in replay.dataset(4).take(300):
            counts.update(batch["reward"].numpy().tolist())
    assert set(counts) == {2.0, 3.0, 4.0, 5.0}
    # New ones had 1 (and 1e-6), the last that was known had 3.
    assert counts[2.0] / 1200 == pytest.approx(3 / 6, abs=0.06)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.table
def test_an_item_without_priority_is_not_lost(seed):
    replay, keys = prioritized(4, 0.5, 0.0, seed, [1.0, 0.0])
    with replay:
        draws = [b["reward"].numpy() for b in replay.dataset(2).take(50)]
        assert np.mean(draws) < 0.05
        replay.update_priorities(keys, [0.0, 0.0])
        time.sleep(0.1)
        draws = [b["reward"].numpy() for b in replay.dataset(2).take(100)]
    assert 0.3 < np.mean(draws) < 0.7


@pytest.mark.parametrize(
    ("keys", "priorities", "rule"),
    [
        ([1], [-1.0], "priorities must be finite and not negative; received -1.0"),
        ([1, 2], [0.0, np.nan], "priorities must be finite and not negative; received nan"),
        ([1, 2], [1.0], "there must be a priority for every key; received 2 keys and 1 prior"),
    ],
)
def test_priorities_that_are_none_are_refused(keys, priorities, rule):
    with Prioritized(4) as replay:
        with pytest.raises(ReplayError, match="not open"):
            replay.update_priorities(keys, priorities)
        replay.open(SPEC)
        with pytest.raises(ArgumentError, match=rule):
            replay.update_priorities(keys, priorities)


@pytest.mark.parametrize("name", ["exponent", "importance_exponent"])
def test_exponents_are_fractions(name):
    with pytest.raises(ArgumentError, match=rf"{name} must be in \[0, 1\]; received 1.5"):
        Prioritized(**{name: 1.5})


def drawn(replay, count):
    batches = [(b["reward"].numpy(), b["weight"].numpy()) for b in replay.dataset(4).take(count)]
    return np.array(batches)


@pytest.mark.table
def test_a_seed_makes_draws_repeatable():
    runs = []
    for seed in (3, 3, 4):
        replay, keys = prioritized(8, 0.6, 0.4, seed, [1.0, 2.0, 3.0, 4.0])
        with replay:
            replay.open(SPEC, seed)
            before = drawn(replay, 5)
            replay.update_priorities(keys[:1], [9.0])
            runs.append(np.concatenate([before, drawn(replay, 5)]))
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


@pytest.mark.table
def test_repeatable_draws_go_on_where_they_were_saved(tmp_path):
    replay, keys = prioritized(4, 0.6, 0.4, 3, [1.0, 2.0, 3.0, 4.0])
    with replay:
        insert(replay, [4])
        iterator = iter(replay.dataset(4))
        for _ in range(3):
            next(iterator)
        replay.update_priorities(keys[1:], [9.0, 1.0, 2.0])
        replay.save(tmp_path, 3)
        expected = [next(iterator) for _ in range(4)]
        insert(replay, [5])
        expected += [next(iterator) for _ in range(4)]
    with Prioritized(4, 0.6, 0.4) as replay:
        replay.open(SPEC, 3, tmp_path)
        assert replay.size == 4
        iterator = iter(replay.dataset(4))
        found = [next(iterator) for _ in range(4)]
        insert(replay, [5])
        found += [next(iterator) for _ in range(4)]
    for one, other in zip(expected, found, strict=True):
        assert one["reward"].numpy().tolist() == other["reward"].numpy().tolist()
        assert one["weight"].numpy().tolist() == other["weight"].numpy().tolist()
        assert (one["key"] == other["key"]).numpy()[one["reward"] < 5].all()


@pytest.mark.table
def test_a_checkpoint_keeps_items_and_priorities_of_free_sampling(tmp_path):
    replay, keys = prioritized(8, 1.0, 1.0, None, [1.0, 3.0, 6.0])
    with replay:
        replay.save(tmp_path, 0)
    with Prioritized(8, 1.0, 1.0) as replay:
        replay.open(SPEC, None, tmp_path)
        counts = collections.Counter()
        for batch in replay.dataset(4).take(400):
            counts.update(batch["reward"].numpy().tolist())
        assert [counts[i] / 1600 for i in range(3)] == pytest.approx([0.1, 0.3, 0.6], abs=0.06)
        assert keys_of(replay, 3) == dict(enumerate(keys))
        insert(replay, [3, 4])  # With 6 each, the highest there has been.
        counts = collections.Counter()
        for batch in replay.dataset(4).take(400):
            counts.update(batch["reward"].numpy().tolist())
        assert counts[4.0] / 1600 == pytest.approx(6 / 22, abs=0.06)


def test_a_checkpoint_of_another_exponent_is_refused(tmp_path):
    replay, _ = prioritized(8, 1.0, 1.0, None, [1.0, 3.0])
    with replay:
        replay.save(tmp_path, 0)
    with Prioritized(8, 0.5) as replay, pytest.raises(MismatchError, match="exponent"):
        replay.open(SPEC, None, tmp_path)


@pytest.mark.table
def test_the_weights_of_steps_are_multiplied():
    spec = Sequences(3, 1).spec(ENV)
    with Prioritized(8, 1.0, 1.0) as replay:
        replay.open(spec)
        rows = replay.packer.rows(2)
        rows[replay.packer.fields["weight"][0]] = [[1, 1, 1], [1, 0, 0]]
        replay.insert(rows)
        replay.flush()
        batch = next(iter(replay.dataset(2)))
        keys = np.unique(np.concatenate([b["key"] for b in replay.dataset(2).take(20)]))
        assert len(keys) == 2
        replay.update_priorities(keys, [1.0, 3.0])
        time.sleep(0.1)
        for batch in replay.dataset(2).take(20):
            weight, known = batch["weight"].numpy(), batch["key"].numpy() == keys[1]
            own = np.where(known, 1 / 3, 1) if not known.all() else np.ones(2)
            assert batch["weight"].shape == (2, 3)
            np.testing.assert_allclose(weight[:, 0], own, rtol=1e-4)
            assert set(np.unique((weight / weight[:, :1]).round(4))) <= {0.0, 1.0}
