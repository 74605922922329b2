"""Experience: what an item of a replay is, and what writes it."""

from kerasrl.experience.rollouts import RolloutWriter, rollout_spec
from kerasrl.experience.transitions import TransitionWriter, transition_spec

__all__ = ["RolloutWriter", "TransitionWriter", "rollout_spec", "transition_spec"]
