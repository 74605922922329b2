"""Agents: one file each."""

from kerasrl.agents.agent import Agent
from kerasrl.agents.dqn import DQN
from kerasrl.agents.sac import SAC

__all__ = ["DQN", "SAC", "Agent"]
