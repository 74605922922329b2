"""Experience: what an item of a replay is, and what writes it."""

from kerasrl.experience.episodes import Episodes, EpisodeWriter
from kerasrl.experience.experience import Experience, Sink, Writer
from kerasrl.experience.rollout_buffer import RolloutBuffer, rollout_spec
from kerasrl.experience.rollouts import Rollouts, RolloutWriter
from kerasrl.experience.sequences import Sequences, SequenceWriter
from kerasrl.experience.transitions import Transitions, TransitionWriter, transition_spec

__all__ = [
    "EpisodeWriter",
    "Episodes",
    "Experience",
    "RolloutBuffer",
    "RolloutWriter",
    "Rollouts",
    "SequenceWriter",
    "Sequences",
    "Sink",
    "TransitionWriter",
    "Transitions",
    "Writer",
    "rollout_spec",
    "transition_spec",
]
