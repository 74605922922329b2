"""Replay: where experience is stored and sampled from."""

from kerasrl.replay.uniform import Uniform
from kerasrl.replay.writer import TransitionWriter, transition_spec

__all__ = ["TransitionWriter", "Uniform", "transition_spec"]
