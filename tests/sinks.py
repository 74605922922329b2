"""What tests of writers share: a sink, steps and a policy, all of plain numbers."""

import numpy as np
import tensorflow as tf

from kerasrl.envs import Step
from kerasrl.experience.packing import Packer


class ListSink:
    """Keeps what is written, as dicts of nests of arrays."""

    def __init__(self, spec):
        self.packer = Packer(spec)
        self.written = []

    def insert(self, rows):
        assert len(rows)
        batch = self.packer.unpack(tf.constant(self.packer.to_bytes(rows.copy())))
        leaves = [leaf.numpy() for leaf in tf.nest.flatten(batch)]
        for i in range(len(rows)):
            self.written.append(tf.nest.pack_sequence_as(batch, [leaf[i] for leaf in leaves]))


class TenfoldPolicy:
    """Its output is the tenfold of an observation, and what was asked for is counted."""

    def __init__(self):
        self.asked = 0

    def output(self, observation):
        self.asked += 1
        return {"b": 10 * observation[0], "a": -observation[0]}


def step(reward, following, acted_next=None, terminated=0, truncated=0, valid=1, cut=0):
    """A step of N environments that are observed as numbers; flags are lists, or one for all."""
    reward, following = np.float32(reward), np.float32(following)
    flags = [np.broadcast_to(flag, len(reward)).astype(bool) for flag in (terminated, truncated)]
    rest = [np.broadcast_to(flag, len(reward)).astype(bool) for flag in (valid, cut)]
    observation = following if acted_next is None else np.float32(acted_next)
    return Step(reward, *flags, [following], [observation], rest[0], [], rest[1])
