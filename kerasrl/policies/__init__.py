"""Policies: acting with a copy of an agent's networks."""

from kerasrl.policies.episodes import run_episodes
from kerasrl.policies.random import random_actions
from kerasrl.policies.snapshot import PolicySnapshot

__all__ = ["PolicySnapshot", "random_actions", "run_episodes"]
