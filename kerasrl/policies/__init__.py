"""Policies: acting with a copy of an agent's networks."""

from kerasrl.policies.episodes import run_episodes
from kerasrl.policies.evaluation import evaluate
from kerasrl.policies.random import RandomPolicy, random_actions
from kerasrl.policies.snapshot import PolicySnapshot

__all__ = ["PolicySnapshot", "RandomPolicy", "evaluate", "random_actions", "run_episodes"]
