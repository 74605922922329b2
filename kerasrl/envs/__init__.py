"""Environments: what they offer, and one face for every kind of them."""

from kerasrl.envs.environments import Environments
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.make import make
from kerasrl.envs.random_actions import random_actions
from kerasrl.envs.spec import EnvSpec
from kerasrl.envs.step import Episode, Step
from kerasrl.envs.suites import dm_control, pybullet
from kerasrl.envs.suites.atari import atari

__all__ = [
    "EnvSpec",
    "Environments",
    "Episode",
    "FaultPolicy",
    "Step",
    "atari",
    "make",
    "random_actions",
]

dm_control.register()
pybullet.register()
