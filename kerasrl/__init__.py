"""kerasrl: reinforcement learning that feels like the rest of Keras."""

# ruff: noqa: E402  The stack is checked before anything heavy is imported.
from kerasrl._stack import check_stack

check_stack()

from kerasrl import actors, callbacks, envs, errors, experience, losses, networks, policies, replay
from kerasrl.agents import A2C, D4PG, DDPG, DQN, PPO, REINFORCE, SAC, TD3, Agent
from kerasrl.plotting import plot_history
from kerasrl.policies import evaluate, load_policy
from kerasrl.saving import load
from kerasrl.version import __version__

__all__ = [
    "A2C",
    "D4PG",
    "DDPG",
    "DQN",
    "PPO",
    "REINFORCE",
    "SAC",
    "TD3",
    "Agent",
    "__version__",
    "actors",
    "callbacks",
    "envs",
    "errors",
    "evaluate",
    "experience",
    "load",
    "load_policy",
    "losses",
    "networks",
    "plot_history",
    "policies",
    "replay",
]
