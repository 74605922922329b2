"""Experience: what an item of a replay is, and what writes it."""

from kerasrl.experience.experience import Experience, Sink, Writer
from kerasrl.experience.rollouts import RolloutWriter, rollout_spec
from kerasrl.experience.transitions import Transitions, TransitionWriter, transition_spec

__all__ = [
    "Experience",
    "RolloutWriter",
    "Sink",
    "TransitionWriter",
    "Transitions",
    "Writer",
    "rollout_spec",
    "transition_spec",
]
