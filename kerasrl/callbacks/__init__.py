"""Callbacks: everything that happens over time."""

from kerasrl.callbacks.collect import Collect
from kerasrl.callbacks.evaluation import Evaluation
from kerasrl.callbacks.linear_schedule import LinearSchedule
from kerasrl.callbacks.target_update import TargetUpdate

__all__ = ["Collect", "Evaluation", "LinearSchedule", "TargetUpdate"]
