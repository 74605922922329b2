"""What `Agent.evaluate` does."""

import contextlib
from typing import Any

import keras

from kerasrl import policies
from kerasrl.agents import run_callbacks
from kerasrl.callbacks.progress import EpisodeProgress


def evaluate(
    agent: keras.Model, x: Any, episodes: int, num_envs: int, seed: int | None, verbose: Any
) -> dict[str, float]:
    """Runs greedy episodes with a progress line; see `Agent.evaluate`."""
    progress = EpisodeProgress(episodes, run_callbacks.verbosity(verbose))
    with contextlib.closing(progress):
        results = policies.evaluate(
            x,
            agent,
            episodes=episodes,
            num_envs=num_envs,
            seed=seed,
            on_episode=lambda episode: progress.add(episode.episode_return),
        )
        progress.end(results)
    return results
