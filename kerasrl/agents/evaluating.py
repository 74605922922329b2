"""What `Agent.evaluate` does."""

import contextlib
from typing import Any

import keras
import numpy as np

from kerasrl import envs
from kerasrl.agents import fitting, run_callbacks
from kerasrl.policies import PolicySnapshot, run_episodes


def evaluate(
    agent: keras.Model, x: Any, episodes: int, num_envs: int, seed: int | None, verbose: Any
) -> dict[str, float]:
    """Runs greedy episodes; see `Agent.evaluate`."""
    fitting.check_positive("episodes", episodes)
    with contextlib.ExitStack() as resources:
        environments = x
        if not isinstance(x, envs.Environments):
            environments = envs.make(x, num_envs)
            resources.callback(environments.close)
        agent.build(environments.spec)
        bar = keras.utils.Progbar(episodes, verbose=run_callbacks.verbosity(verbose))
        finished = run_episodes(
            PolicySnapshot(agent, environments.spec.observation, environments.num_envs),
            environments,
            episodes,
            seed,
            on_episode=lambda episode: bar.add(1, [("episode_return", episode.episode_return)]),
        )
    return {
        "episode_return": float(np.mean([episode.episode_return for episode in finished])),
        "episode_length": float(np.mean([episode.length for episode in finished])),
    }
