"""Replay: where experience is stored and sampled from."""

from kerasrl.replay.queue import Queue
from kerasrl.replay.rollouts import RolloutWriter, rollout_spec
from kerasrl.replay.uniform import Uniform
from kerasrl.replay.writer import TransitionWriter, transition_spec

__all__ = [
    "Queue",
    "RolloutWriter",
    "TransitionWriter",
    "Uniform",
    "rollout_spec",
    "transition_spec",
]
