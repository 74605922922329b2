"""Agents: Keras models that are fitted to environments."""

from kerasrl.agents.a2c import A2C
from kerasrl.agents.agent import Agent
from kerasrl.agents.d4pg import D4PG
from kerasrl.agents.ddpg import DDPG
from kerasrl.agents.dqn import DQN
from kerasrl.agents.ppo import PPO
from kerasrl.agents.reinforce import REINFORCE
from kerasrl.agents.sac import SAC
from kerasrl.agents.td3 import TD3

__all__ = ["A2C", "D4PG", "DDPG", "DQN", "PPO", "REINFORCE", "SAC", "TD3", "Agent"]
