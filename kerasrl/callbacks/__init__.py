"""Callbacks: everything that happens over time."""

from kerasrl.callbacks.collect import Collect
from kerasrl.callbacks.collect_episodes import CollectEpisodes
from kerasrl.callbacks.collect_rollouts import CollectRollouts
from kerasrl.callbacks.collector import Collector
from kerasrl.callbacks.episode_csv import EpisodeCSV
from kerasrl.callbacks.evaluation import Evaluation
from kerasrl.callbacks.linear_schedule import LinearSchedule
from kerasrl.callbacks.steps_per_second import StepsPerSecond
from kerasrl.callbacks.target_update import TargetUpdate
from kerasrl.callbacks.video import Video

__all__ = [
    "Collect",
    "CollectEpisodes",
    "CollectRollouts",
    "Collector",
    "EpisodeCSV",
    "Evaluation",
    "LinearSchedule",
    "StepsPerSecond",
    "TargetUpdate",
    "Video",
]
