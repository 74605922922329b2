"""Where replays keep their items."""

import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import ArgumentError, MismatchError, SaveError
from kerasrl.replay import Prioritized, Queue, Uniform, stores

SPEC = {"x": tf.TensorSpec((), tf.int64)}
KINDS = [Uniform, Prioritized, Queue]


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_reverb_where_it_is_installed(kind, store):
    assert kind().store == kind(store="auto").store == store


@pytest.mark.local
@pytest.mark.parametrize("kind", KINDS)
def test_reverb_where_it_is_not_installed(kind):
    with pytest.raises(ArgumentError, match='store="reverb" needs Reverb, .* Python 3.10 and 3.11'):
        kind(store="reverb")


@pytest.mark.parametrize("kind", KINDS)
def test_no_such_store(kind):
    with pytest.raises(ArgumentError, match='"auto", "local" or "reverb"; received \'redis\''):
        kind(store="redis")


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_is_a_servers(kind):
    with pytest.raises(ArgumentError, match="port=8000 is a Reverb server's"):
        kind(port=8000, store="local")


@pytest.mark.reverb
def test_a_directory_is_a_local_stores(tmp_path):
    with pytest.raises(ArgumentError, match="directory=.* is a local store's"):
        Uniform(store="reverb", directory=tmp_path)


def filled(replay, count, seed=0):
    replay.open(SPEC, seed)
    rows = replay.packer.rows(count)
    rows[replay.packer.fields["x"][0]] = np.arange(count)
    replay.insert(rows)
    return replay


@pytest.mark.local
@pytest.mark.parametrize("kind", [Uniform, Prioritized])
def test_a_mapped_replay_is_one_in_memory(kind, tmp_path):
    """A directory chooses the local store by itself."""
    with (
        filled(kind(100, directory=tmp_path), 250) as mapped,
        filled(kind(100, store="local"), 250) as memory,
    ):
        assert mapped.store == "local"
        batches = zip(mapped.dataset(8).take(40), memory.dataset(8).take(40), strict=True)
        for one, other in batches:
            np.testing.assert_array_equal(one["x"], other["x"])
            assert one["x"].numpy().min() >= 150
        assert isinstance(mapped._table._ring.rows, np.memmap)
        assert list(tmp_path.iterdir()) == []  # What ends this process leaves nothing.


@pytest.mark.local
def test_a_directory_that_is_not_there_or_has_no_room(tmp_path):
    with pytest.raises(SaveError, match="directory=.*nowhere.*No such file"):
        Uniform(100, directory=tmp_path / "nowhere").open(SPEC)
    with pytest.raises(SaveError, match="cannot be mapped to a file .* It takes .* lower capacity"):
        Uniform(2**52, directory=tmp_path).open(SPEC)


@pytest.mark.reverb
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_the_other_store_is_refused(kind, tmp_path):
    spec = {"x": tf.TensorSpec((2, 1), tf.int64)} if kind is Queue else SPEC
    for store, other in (("local", "reverb"), ("reverb", "local")):
        (tmp_path / store).mkdir()
        with kind(store=store) as replay:
            replay.open(spec)
            replay.save(tmp_path / store, 0)
        with kind(store=other) as replay, pytest.raises(MismatchError, match=" store .*local"):
            replay.open(spec, checkpoint=tmp_path / store)


@pytest.mark.reverb
@pytest.mark.thorough
def test_nothing_of_reverb_is_imported_for_a_local_store(run_python):
    output = run_python(
        """
import sys
import kerasrl
from kerasrl.replay import stores
stores.reverb_is_there = lambda: False
sys.modules["reverb"] = None  # An import of it is an error from now on.
with kerasrl.replay.Uniform(100) as replay:
    agent = kerasrl.DQN()
    agent.compile()
    agent.fit("CartPole-v1", env_steps=1100, replay=replay, verbose=0)
    print("left", replay.store, replay.size)
""",
    )
    assert "left local 100" in output


@pytest.mark.local
def test_stores_are_told_apart_by_name():
    assert stores.chosen("local").name == "local"
