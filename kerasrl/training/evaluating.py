"""What `Agent.evaluate` and `Agent.film` do."""

import contextlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl import policies
from kerasrl.arguments import whole
from kerasrl.callbacks.progress import EpisodeProgress
from kerasrl.callbacks.video import MAX_FILMED_STEPS, film
from kerasrl.policies.episodes import MAX_EPISODE_STEPS
from kerasrl.training import chosen_callbacks, run_callbacks

__all__ = ["MAX_EPISODE_STEPS", "MAX_FILMED_STEPS", "evaluate", "film"]


def evaluate(
    agent: keras.Model,
    x: Any,
    episodes: int,
    num_envs: int,
    seed: int | None,
    max_episode_steps: int | None,
    verbose: Any,
    callbacks: Any,
) -> dict[str, float]:
    """Runs greedy episodes with a progress line; see `Agent.evaluate`."""
    episodes, verbose = whole("episodes", episodes), run_callbacks.verbosity(verbose)
    callbacks = _listed(agent, callbacks, episodes)
    with contextlib.closing(EpisodeProgress(episodes, verbose)) as progress:
        listener = _Listener(episodes, progress, callbacks)
        results = policies.evaluate(
            x,
            agent,
            episodes=episodes,
            num_envs=num_envs,
            seed=seed,
            max_episode_steps=max_episode_steps,
            on_episode=listener,
        )
        progress.end(results)
    callbacks.on_test_end(results)
    return results


class _Listener:
    """Tells callbacks of every episode as of a batch, with the means so far."""

    def __init__(
        self,
        episodes: int,
        progress: EpisodeProgress,
        callbacks: keras.callbacks.CallbackList,
    ):
        self._episodes = episodes
        self._progress = progress
        self._callbacks = callbacks
        self._ended: list[tuple[float, int]] = []
        callbacks.on_test_begin()
        callbacks.on_test_batch_begin(0)

    def __call__(self, episode: Any) -> None:
        self._progress.add(episode.episode_return)
        self._ended.append((episode.episode_return, episode.length))
        means = map(float, np.mean(self._ended, axis=0))
        logs = dict(zip(("episode_return", "episode_length"), means, strict=True))
        count = len(self._ended)
        self._callbacks.on_test_batch_end(count - 1, logs)
        if count < self._episodes:
            self._callbacks.on_test_batch_begin(count)


def _listed(agent: keras.Model, callbacks: Any, episodes: int) -> keras.callbacks.CallbackList:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given = [] if callbacks is None else tf.nest.flatten(callbacks)
    chosen_callbacks.check_instances(given)
    return keras.callbacks.CallbackList(given, model=agent, epochs=1, steps=episodes, verbose=0)
