import itertools

import numpy as np
import pytest
import tensorflow as tf
from replay_items import SPEC, insert

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import ArgumentError, ArgumentTypeError, MismatchError, ReplayError
from kerasrl.replay import Fixed, Mixture, Prioritized, Queue, Uniform


def demonstrations(rewards, **columns):
    """A dataset of batches of two."""
    rewards = np.float32(rewards)
    zeros = {
        key: np.zeros((len(rewards), *leaf.shape), leaf.dtype.as_numpy_dtype)
        for key, leaf in SPEC.items()
    }
    return tf.data.Dataset.from_tensor_slices({**zeros, "reward": rewards, **columns}).batch(2)


def mixed(seed=None, shares=(0.75, 0.25), make=Uniform, checkpoint=None):
    """An open mixture, of rewards below 64 and from 1000 on."""
    replays = {"live": make(512), "expert": make(512)}
    mixture = Mixture(replays, dict(zip(replays, shares, strict=True)))
    mixture.open(SPEC, seed, checkpoint)
    if checkpoint is None:
        insert(replays["live"], np.arange(64))
        insert(replays["expert"], 1000 + np.arange(64))
    return mixture


def rewards(mixture, batch_size, count):
    batches = mixture.dataset(batch_size).take(count)
    return np.array([batch["reward"].numpy() for batch in batches])


@pytest.mark.parametrize(
    ("batch_size", "share", "fewest", "most", "seed"),
    [
        (8, 0.25, 2, 2, None),
        (10, 0.25, 2, 3, 3),
        (64, 1 / 256, 0, 1, None),
        (6, 1 / 3, 2, 2, 3),
        (16, 0.3, 4, 5, None),
    ],
)
@pytest.mark.table
def test_shares_are_exact(batch_size, share, fewest, most, seed):
    with mixed(seed, (1 - share, share)) as mixture:
        found = rewards(mixture, batch_size, 40) >= 1000
    counts = found.sum(axis=1)
    assert found.shape == (40, batch_size)
    assert counts.min() == fewest
    assert counts.max() == most
    assert counts.sum() == round(40 * batch_size * share)


@pytest.mark.table
def test_each_is_sampled_by_itself():
    with mixed(5) as mixture:
        found = rewards(mixture, 16, 60).astype(int).ravel()
    for begin in (0, 1000):
        drawn = np.bincount(found[(found >= begin) & (found < begin + 64)] - begin, minlength=64)
        assert (drawn > 0).mean() > 0.9


def test_what_is_collected_goes_into_the_first():
    with mixed() as mixture:
        insert(mixture, np.arange(64))
        assert mixture.capacity == 512
        assert mixture.size == 128
        assert mixture.replays["expert"].size == 64
        assert not mixture.fixed
        assert not mixture.priorities


@pytest.mark.parametrize(
    ("share", "trained_on", "make"),
    [(0.25, 4, Uniform), (0.3, 4, Prioritized), (0.3, 5, Uniform), (0.3, 7, Uniform)],
)
@pytest.mark.table
def test_it_goes_on_where_it_was_saved(share, trained_on, make, tmp_path):
    with mixed(7, (1 - share, share), make) as mixture:
        drawn = iter(mixture.dataset(8))
        for _ in range(trained_on):
            next(drawn)
        mixture.save(tmp_path, trained_on)
        expected = [next(drawn)["reward"].numpy() for _ in range(6)]
    with mixed(8, (1 - share, share), make, tmp_path) as mixture:
        received = rewards(mixture, 8, 6)
        again = tmp_path / "again"
        again.mkdir()
        mixture.save(again, 1)
    np.testing.assert_array_equal(received, expected)
    with mixed(9, (1 - share, share), make, again) as mixture:
        np.testing.assert_array_equal(rewards(mixture, 8, 5), expected[1:])


def test_other_shares_are_told_of(tmp_path):
    with mixed(7) as mixture:
        mixture.save(tmp_path, 0)
    with pytest.raises(MismatchError, match=r"shares.*0\.25"):
        mixed(7, (0.5, 0.5), checkpoint=tmp_path)


@pytest.mark.table
def test_priorities_go_to_the_replay_of_the_key():
    with mixed(shares=(0.5, 0.5), make=Prioritized) as mixture:
        assert mixture.priorities
        batch = next(iter(mixture.dataset(64)))
        assert len(set(batch["key"].numpy().tolist())) == len(set(batch["reward"].numpy().tolist()))
        for batch in mixture.dataset(32).take(100):
            wanted = np.isin(batch["reward"].numpy(), [3, 1007])
            mixture.update_priorities(batch["key"].numpy(), np.where(wanted, 1e3, 1e-9))
        assert np.isin(rewards(mixture, 32, 10), [3, 1007]).mean() > 0.9


@pytest.mark.table
def test_what_has_no_priority_has_a_weight_of_one():
    replays = {"live": Uniform(64), "expert": Prioritized(64, importance_exponent=1.0)}
    with Mixture(replays, {"live": 0.5, "expert": 0.5}) as mixture:
        mixture.open(SPEC, 0)
        insert(replays["live"], np.arange(64))
        insert(replays["expert"], 1000 + np.arange(64))
        for batch in mixture.dataset(32).take(20):
            expert = batch["reward"].numpy() >= 1000
            mixture.update_priorities(batch["key"].numpy(), np.arange(32.0))
            assert (batch["weight"].numpy()[~expert] == 1).all()
        assert batch["weight"].dtype == tf.float32
        assert (batch["weight"].numpy()[expert] < 1).any()


@pytest.mark.table
def test_a_dataset_goes_round_and_on(tmp_path):
    def opened(checkpoint=None):
        data = Fixed(demonstrations(1000 + np.arange(10), noise=np.zeros(10)))
        mixture = Mixture({"live": Uniform(64), "data": data}, {"live": 0.7, "data": 0.3})
        mixture.open(SPEC, 1, checkpoint)
        if checkpoint is None:
            insert(mixture, np.arange(64))
        return mixture

    with opened() as mixture:
        assert "noise" not in mixture.dataset(10).element_spec
        found = rewards(mixture, 10, 10)
        order = found[found >= 1000] - 1000
        np.testing.assert_array_equal(order, np.arange(30) % 10)
        iterator = iter(mixture.dataset(10))
        for _ in range(4):
            next(iterator)
        mixture.save(tmp_path, 4)
        expected = [next(iterator)["reward"].numpy() for _ in range(3)]
    with opened(tmp_path) as mixture:
        np.testing.assert_array_equal(rewards(mixture, 10, 3), expected)


@pytest.mark.table
def test_an_agent_learns_from_it(tmp_path):
    replays = {"live": Uniform(1000), "expert": Prioritized(1000)}
    agent = kerasrl.DQN()
    agent.build("CartPole-v1")
    spec = kerasrl.experience.Transitions(1).spec(kerasrl.envs.EnvSpec("CartPole-v1"))
    replays["expert"].open(spec, seed=0)
    insert(replays["expert"], np.zeros(64))
    agent.compile()
    with Mixture(replays, {"live": 0.5, "expert": 0.5}) as mixture:
        history = agent.fit(
            "CartPole-v1",
            replay=mixture,
            epochs=1,
            steps_per_epoch=20,
            callbacks=[Collect(warmup_steps=64)],
            seed=0,
            verbose=0,
        )
        assert np.isfinite(history.history["loss"]).all()
        assert replays["expert"].size == 64
        assert mixture.size > 0


@pytest.mark.parametrize(
    ("replays", "shares", "error", "rule"),
    [
        ({}, {}, ArgumentError, "a share for every replay"),
        ({"a": Uniform()}, {"b": 1.0}, ArgumentError, r"replays \['a'\] and shares of \['b'\]"),
        ({"a": Uniform(), "b": Uniform()}, {"a": 0.5, "b": 0.4}, ArgumentError, "add up to 1"),
        ({"a": Uniform(), "b": Uniform()}, {"a": 1.5, "b": -0.5}, ArgumentError, "positive"),
        ({"a": Uniform(), "b": Uniform()}, {"a": 1.0, "b": float("nan")}, ArgumentError, "posit"),
        ({"a": Queue()}, {"a": 1.0}, ArgumentTypeError, "again and again"),
        ({"a": [1]}, {"a": 1.0}, ArgumentTypeError, r"received a=\[1\]"),
        ([Uniform()], {"a": 1.0}, ArgumentTypeError, "a dict of replays"),
        ({"a": Fixed(demonstrations([1, 2]))}, {"a": 1.0}, ArgumentError, "can go into 'a'"),
    ],
)
def test_arguments_that_cannot_be(replays, shares, error, rule):
    with pytest.raises(error, match=rule):
        Mixture(replays, shares)


def test_what_cannot_be_sampled():
    with pytest.raises(ReplayError, match="not open"):
        Mixture({"a": Uniform()}, {"a": 1.0}).dataset(4)
    with mixed(shares=(0.877, 0.123)) as mixture, pytest.raises(ArgumentError, match="whole numb"):
        mixture.dataset(256)
    with Mixture({"a": Uniform(), "b": Uniform()}, {"a": 0.5, "b": 0.5}) as mixture:
        mixture.open(SPEC)
        with pytest.raises(ReplayError, match="'b' of the mixture is empty"):
            mixture.dataset(4)


def test_the_failure_of_one_is_told_of():
    data = Fixed(demonstrations([1.0, 2.0], action=np.int64([3, 2**40])))
    with Mixture({"live": Uniform(64), "data": data}, {"live": 0.5, "data": 0.5}) as mixture:
        spec = {**SPEC, "action": tf.TensorSpec((), tf.int32)}
        mixture.open(spec)
        insert(mixture, np.arange(64))
        assert mixture.failure() is None
        with pytest.raises(tf.errors.OpError):
            list(itertools.islice(mixture.dataset(4), 3))
        assert "must be within" in str(mixture.failure())
