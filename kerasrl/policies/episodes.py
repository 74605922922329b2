"""Running a policy for a number of episodes."""

from collections.abc import Callable

import numpy as np

from kerasrl.envs import Environments, Episode


def run_episodes(
    policy: Callable[[list[np.ndarray]], np.ndarray],
    environments: Environments,
    episodes: int,
    seed: int | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Runs whole episodes, their number per environment fixed beforehand.

    Taking the first `episodes` to finish would favour short ones; so each environment has its share
    and what it does afterwards does not count.

    Args:
        policy: callable from observation leaves `[N, ...]` to actions `[N, ...]`.
        environments: `Environments`, reset first.
        episodes: int, how many in all.
        seed: int, for the first reset.
        on_episode: callable, told of every episode that counts.

    Returns:
        List of `episodes` `Episode`s, in the order in which they finished.
    """
    share = np.full(environments.num_envs, episodes // environments.num_envs)
    share[: episodes % environments.num_envs] += 1
    finished: list[Episode] = []
    observation = environments.reset(seed)
    while len(finished) < episodes:
        step = environments.step(policy(observation))
        observation = step.observation
        for episode in step.episodes:
            if share[episode.env]:
                share[episode.env] -= 1
                finished.append(episode)
                on_episode(episode)
    return finished
