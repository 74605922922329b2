"""Environments: what they offer, and one face for every kind of them."""

from kerasrl.envs import dm_control, pybullet
from kerasrl.envs.atari import atari
from kerasrl.envs.environments import Environments, Episode, Step
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.make import make
from kerasrl.envs.spec import EnvSpec

__all__ = ["EnvSpec", "Environments", "Episode", "FaultPolicy", "Step", "atari", "make"]

dm_control.register()
pybullet.register()
