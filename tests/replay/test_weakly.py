"""TensorFlow keeps a dataset's Python functions for ever, but nothing of a replay with them."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from kerasrl.errors import ReplayError
from kerasrl.replay import Queue, Uniform
from kerasrl.replay.weakly import weakly

SPEC = {"reward": tf.TensorSpec((), tf.float32)}
ROLLOUT = {"reward": tf.TensorSpec((2, 1), tf.float32)}


def use(replay, seed=None):
    """Draws a batch; returns references to what the dataset's Python functions call."""
    replay.open(SPEC if isinstance(replay, Uniform) else ROLLOUT, seed)
    if isinstance(replay, Uniform):
        replay.insert(np.zeros(1000, replay.packer.dtype))
        replay.flush()
        dataset = replay.dataset(4)
        called = [replay._table._sampler, getattr(replay._table, "_alarm", None)]
    else:
        replay.insert(np.zeros(1, replay.packer.dtype))
        dataset = replay.dataset(lambda rollout: rollout)
        called = [replay._reader]
    next(iter(dataset))
    return [weakref.ref(part) for part in called if part is not None]


@pytest.mark.parametrize(("kind", "seed"), [(Uniform, None), (Uniform, 3), (Queue, None)])
@pytest.mark.table
def test_nothing_of_a_replay_outlives_it(kind, seed):
    with kind() as replay:
        parts = use(replay, seed)
        assert all(part() is not None for part in parts)
    gc.collect()
    assert [part() for part in parts] == [None] * len(parts)


def test_a_method_whose_object_is_gone():
    class Part:
        def double(self, number, *, offset=0):
            return 2 * number + offset

    part = Part()
    double = weakly(part.double)
    assert double(3, offset=1) == 7
    del part
    with pytest.raises(ReplayError, match="drawn from is closed"):
        double(3)
