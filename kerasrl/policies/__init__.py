"""Policies: acting with a copy of an agent's networks."""

from kerasrl.envs import random_actions
from kerasrl.export.export import export_policy
from kerasrl.export.exported import ExportedPolicy, load_policy
from kerasrl.export.manifest import EXPORT_FORMATS, read_info
from kerasrl.policies.episodes import run_episodes
from kerasrl.policies.evaluation import evaluate
from kerasrl.policies.network_policy import NetworkPolicy, acts_by_networks, of_networks
from kerasrl.policies.policy import Policy, PolicySpec, PolicyStep
from kerasrl.policies.random_policy import RandomPolicy
from kerasrl.policies.restored_policy import RestoredPolicy
from kerasrl.policies.snapshot import PolicySnapshot

__all__ = [
    "EXPORT_FORMATS",
    "ExportedPolicy",
    "NetworkPolicy",
    "Policy",
    "PolicySnapshot",
    "PolicySpec",
    "PolicyStep",
    "RandomPolicy",
    "RestoredPolicy",
    "acts_by_networks",
    "evaluate",
    "export_policy",
    "load_policy",
    "of_networks",
    "random_actions",
    "read_info",
    "run_episodes",
]
