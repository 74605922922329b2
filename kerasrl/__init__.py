"""kerasrl: reinforcement learning that feels like the rest of Keras."""

# ruff: noqa: E402  The stack is checked before anything heavy is imported.
from kerasrl._stack import check_stack

check_stack()

from kerasrl import callbacks, envs, errors, losses, networks, policies, replay
from kerasrl.agents import DQN, SAC, Agent
from kerasrl.version import __version__

__all__ = [
    "DQN",
    "SAC",
    "Agent",
    "__version__",
    "callbacks",
    "envs",
    "errors",
    "losses",
    "networks",
    "policies",
    "replay",
]
