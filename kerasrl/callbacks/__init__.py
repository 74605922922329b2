"""Callbacks: everything that happens over time."""

from kerasrl.callbacks.collect import Collect
from kerasrl.callbacks.collect_episodes import CollectEpisodes
from kerasrl.callbacks.collect_rollouts import CollectRollouts
from kerasrl.callbacks.collector import Collector
from kerasrl.callbacks.episode_csv import EpisodeCSV
from kerasrl.callbacks.evaluation import Evaluation
from kerasrl.callbacks.linear_schedule import LinearSchedule
from kerasrl.callbacks.policy_export import PolicyExport
from kerasrl.callbacks.steps_per_second import StepsPerSecond
from kerasrl.callbacks.target_update import TargetUpdate
from kerasrl.callbacks.video import Video
from kerasrl.checkpoints.checkpoint import Checkpoint

__all__ = [
    "Checkpoint",
    "Collect",
    "CollectEpisodes",
    "CollectRollouts",
    "Collector",
    "EpisodeCSV",
    "Evaluation",
    "LinearSchedule",
    "PolicyExport",
    "StepsPerSecond",
    "TargetUpdate",
    "Video",
]
