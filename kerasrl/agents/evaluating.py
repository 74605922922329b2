"""What `Agent.evaluate` and `Agent.film` do."""

from typing import Any

import keras

from kerasrl import policies
from kerasrl.agents import run_callbacks
from kerasrl.callbacks.video import MAX_FILMED_STEPS, film
from kerasrl.policies.episodes import MAX_EPISODE_STEPS

__all__ = ["MAX_EPISODE_STEPS", "MAX_FILMED_STEPS", "evaluate", "film"]


def evaluate(
    agent: keras.Model,
    x: Any,
    episodes: int,
    num_envs: int,
    seed: int | None,
    max_episode_steps: int | None,
    verbose: Any,
) -> dict[str, float]:
    """Runs greedy episodes with a progress bar; see `Agent.evaluate`."""
    bar = keras.utils.Progbar(episodes, verbose=run_callbacks.verbosity(verbose))
    return policies.evaluate(
        x,
        agent,
        episodes=episodes,
        num_envs=num_envs,
        seed=seed,
        max_episode_steps=max_episode_steps,
        on_episode=lambda episode: bar.add(1, [("episode_return", episode.episode_return)]),
    )
