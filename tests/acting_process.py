"""A process that acts: environments, a policy and a writer, which arrays are sent to and from."""

import numpy as np

from kerasrl import DQN, envs
from kerasrl.actors import Actor
from kerasrl.experience import Transitions
from kerasrl.experience.packing import Packer


class Outbox:
    """A sink that hands packed items to a function."""

    def __init__(self, spec, send):
        self.packer, self._send = Packer(spec), send

    def insert(self, rows):
        self._send(self.packer.to_bytes(rows).tobytes())


def make_actor(send):
    """An actor in two environments that explores with an agent of its own."""
    environments = envs.make("CartPole-v1", 2)
    agent = DQN(normalize_observations=True)
    policy = agent.make_policy(environments.spec, 2, np.random.default_rng(3))
    experience = Transitions(n_step=2)
    sink = Outbox(experience.spec(environments.spec, policy.spec, 2), send)
    actor = Actor(environments, policy, experience.writer(sink, 2, policy), keeps_seen=True)
    actor.restart(seed=5)
    return actor


def turn(actor, items, weights):
    """Takes over weights and acts; returns what there is to tell of it."""
    actor.policy.set_weights(*weights)
    actor.run(steps=40)
    drained, packed = actor.drain(), b"".join(items)
    items.clear()
    return actor.policy.version, packed, drained.episodes, drained.seen, actor.env_steps


def act(connection):
    """Takes a turn for every pair of a version and weights, until None comes."""
    items = []
    actor = make_actor(items.append)
    while (received := connection.recv()) is not None:
        connection.send(turn(actor, items, received))
