"""Replay: where experience is stored and sampled from."""

from kerasrl.experience.rollout_buffer import rollout_spec
from kerasrl.experience.rollouts import RolloutWriter
from kerasrl.experience.transitions import TransitionWriter, transition_spec
from kerasrl.replay.fixed import Fixed
from kerasrl.replay.mixture import Mixture
from kerasrl.replay.prioritized import Prioritized
from kerasrl.replay.queue import Queue
from kerasrl.replay.replay import Replay
from kerasrl.replay.uniform import Uniform

__all__ = [
    "Fixed",
    "Mixture",
    "Prioritized",
    "Queue",
    "Replay",
    "RolloutWriter",
    "TransitionWriter",
    "Uniform",
    "rollout_spec",
    "transition_spec",
]
