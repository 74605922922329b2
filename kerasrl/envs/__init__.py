"""Environments: what they offer, and one face for every kind of them."""

from kerasrl.envs.make import make
from kerasrl.envs.spec import EnvSpec
from kerasrl.envs.vector import Environments, Episode, Step

__all__ = ["EnvSpec", "Environments", "Episode", "Step", "make"]
