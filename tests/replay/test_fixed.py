import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import ArgumentError, ArgumentTypeError, ReplayError
from kerasrl.replay import Fixed

SPEC = {"action": tf.TensorSpec((), tf.int64), "reward": tf.TensorSpec((), tf.float32)}


def dataset(**columns):
    columns = {"action": np.int32([1, 2, 3]), "reward": np.float64([4, 5, 6]), **columns}
    return tf.data.Dataset.from_tensor_slices(columns).batch(2)


def test_a_dataset_is_sampled_as_it_is_and_cast():
    replay = Fixed(dataset(other=["a", "b", "c"]))
    replay.open(SPEC)
    first, second = replay.dataset()
    assert first["action"].dtype == tf.int64 and first["reward"].dtype == tf.float32
    assert first["reward"].numpy().tolist() == [4, 5]
    assert second["other"].numpy().tolist() == [b"c"]
    assert replay.size == 2
    assert (replay.consumed, replay.priorities, replay.fixed) == (False, False, True)


def test_nothing_goes_in():
    replay = Fixed(dataset())
    with pytest.raises(ReplayError, match="nothing goes in"):
        replay.insert(np.zeros(1))
    with pytest.raises(ReplayError, match="nothing goes in"):
        _ = replay.packer


def test_what_cannot_be_sampled_is_refused():
    with pytest.raises(ArgumentTypeError, match="takes a tf.data.Dataset; received list"):
        Fixed([1])
    with pytest.raises(ReplayError, match="not open"):
        Fixed(dataset()).dataset()
    replay = Fixed(dataset())
    with pytest.raises(ArgumentError, match=r"must yield dicts with \['discount'\]"):
        replay.open({"discount": tf.TensorSpec((), tf.float32)})
    replay.open(SPEC)
    with pytest.raises(ArgumentError, match="its own batches; received batch_size=32"):
        replay.dataset(32)


def test_what_is_collected_cannot_go_into_it(make_agent, tiny_env):
    agent = make_agent("dqn")
    with pytest.raises(ArgumentTypeError, match=r"cannot go into a Fixed replay.*fit\(dataset\)"):
        agent.fit(tiny_env(), replay=Fixed(dataset()), verbose=0)
    assert agent.run is None
