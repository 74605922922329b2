"""What `Agent.evaluate` does."""

from typing import Any

import keras

from kerasrl import policies
from kerasrl.agents import run_callbacks


def evaluate(
    agent: keras.Model, x: Any, episodes: int, num_envs: int, seed: int | None, verbose: Any
) -> dict[str, float]:
    """Runs greedy episodes with a progress bar; see `Agent.evaluate`."""
    bar = keras.utils.Progbar(episodes, verbose=run_callbacks.verbosity(verbose))
    return policies.evaluate(
        x,
        agent,
        episodes=episodes,
        num_envs=num_envs,
        seed=seed,
        on_episode=lambda episode: bar.add(1, [("episode_return", episode.episode_return)]),
    )
