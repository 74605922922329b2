"""What `Agent.evaluate` does."""

from typing import Any

import keras
import tensorflow as tf

from kerasrl import policies
from kerasrl.agents import run_callbacks
from kerasrl.arguments import whole


def evaluate(
    agent: keras.Model,
    x: Any,
    episodes: int,
    num_envs: int,
    seed: int | None,
    verbose: Any,
    callbacks: Any,
) -> dict[str, float]:
    """Runs greedy episodes with a progress bar; see `Agent.evaluate`."""
    episodes = whole("episodes", episodes)
    bar = keras.utils.Progbar(episodes, verbose=run_callbacks.verbosity(verbose))
    told, done = _listed(agent, callbacks, episodes), 0

    def on_episode(episode: Any) -> None:
        nonlocal done
        bar.add(1, [("episode_return", episode.episode_return)])
        logs = {"episode_return": episode.episode_return, "episode_length": float(episode.length)}
        told.on_test_batch_end(done, logs)
        done += 1
        if done < episodes:
            told.on_test_batch_begin(done)

    told.on_test_begin()
    told.on_test_batch_begin(0)
    results = policies.evaluate(
        x, agent, episodes=episodes, num_envs=num_envs, seed=seed, on_episode=on_episode
    )
    told.on_test_end(results)
    return results


def _listed(agent: keras.Model, callbacks: Any, episodes: int) -> keras.callbacks.CallbackList:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    given = [] if callbacks is None else tf.nest.flatten(callbacks)
    run_callbacks.check_instances(given)
    return keras.callbacks.CallbackList(given, model=agent, epochs=1, steps=episodes, verbose=0)
