import warnings

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kerasrl import envs
from kerasrl.errors import ArgumentError
from kerasrl.policies import run_episodes
from kerasrl.testing import CountingEnv, RandomEnv


def act(observation):
    return np.zeros(len(observation[0]), int)


def of_lengths(*lengths):
    left = [CountingEnv((length,)) for length in lengths]
    return envs.make(lambda: left.pop(0), len(lengths))


def shares(finished, num_envs):
    return np.bincount([episode.env for episode in finished], minlength=num_envs).tolist()


@pytest.mark.parametrize(
    ("episodes", "expected"), [(6, [3, 3]), (7, [4, 3]), (2, [1, 1]), (1, [1, 0])]
)
def test_short_episodes_are_not_favoured(episodes, expected):
    """Taking the first to finish would take a long episode for every twenty short ones."""
    finished = run_episodes(act, of_lengths(20, 1), episodes)
    assert shares(finished, 2) == expected
    assert all(episode.length == (20, 1)[episode.env] for episode in finished)


def test_the_mean_is_that_of_the_environments():
    finished = run_episodes(act, of_lengths(1, 2, 3, 10), 8)
    assert np.mean([episode.length for episode in finished]) == 4
    assert np.mean([episode.episode_return for episode in finished]) == (1 + 3 + 6 + 55) / 4


@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_every_kind_of_environment_gives_the_same_episodes(mode):
    def make():
        if mode is None:
            return envs.make(lambda: RandomEnv(), 3)
        return envs.make(SyncVectorEnv([lambda: RandomEnv()] * 3, autoreset_mode=mode))

    def by_env(finished):
        return sorted(finished, key=lambda episode: episode.env)

    expected = run_episodes(act, envs.make(lambda: RandomEnv(), 3), 8, seed=5)
    finished = run_episodes(act, make(), 8, seed=5)
    assert by_env(finished) == by_env(expected)
    assert shares(finished, 3) == [3, 3, 2]


def test_the_policy_sees_what_is_to_be_acted_on():
    seen = []

    def remember(observation):
        seen.append(observation[0].tolist())
        return act(observation)

    run_episodes(remember, of_lengths(2), 2)
    assert seen == [[[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]]]


def test_its_actions_are_taken():
    env = CountingEnv((3,))
    run_episodes(lambda observation: observation[0][:, 1].astype(int), envs.make(env), 2)
    assert env.actions == [0, 1, 2, 0, 1, 2]


def test_every_episode_that_counts_is_told_of_in_order():
    told = []
    finished = run_episodes(act, of_lengths(5, 1), 4, on_episode=told.append)
    assert told == finished
    assert [(episode.env, episode.length) for episode in told] == [(1, 1), (1, 1), (0, 5), (0, 5)]


def test_an_episode_that_was_going_on_is_not_continued():
    environments = of_lengths(3)
    environments.reset()
    environments.step(np.zeros(1, int))
    assert run_episodes(act, environments, 1) == [envs.Episode(0, 6.0, 3)]


@pytest.mark.regression(12)
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
def test_episodes_that_never_end_are_broken_off(mode):
    """The second environment is like others, and has its share of whole episodes."""

    def make():
        left = [CountingEnv((10**9,)), CountingEnv((3,))]
        if mode is None:
            return envs.make(lambda: left.pop(0), 2)
        return envs.make(SyncVectorEnv([lambda: left.pop(0)] * 2, autoreset_mode=mode))

    rule = "environment 0: an episode has not ended after max_episode_steps=7 steps. It is broken"
    with pytest.warns(UserWarning, match=rule) as record:
        finished = run_episodes(act, make(), 6, max_episode_steps=7)
    assert len(record) == 1
    assert sorted(finished) == [(0, 28.0, 7)] * 3 + [(1, 6.0, 3)] * 3


@pytest.mark.regression(12)
def test_what_is_broken_off_begins_anew():
    env = CountingEnv((10**9,))
    with pytest.warns(UserWarning, match="its return so far, 3, is taken for that of the whole"):
        run_episodes(act, envs.make(env), 3, max_episode_steps=2)
    assert len(env.seeds) == 3
    assert len(env.actions) == 6


def test_an_episode_that_ends_at_the_limit_is_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finished = run_episodes(act, of_lengths(3, 1), 4, max_episode_steps=3)
        assert run_episodes(act, of_lengths(3), 1, max_episode_steps=None) == finished[-1:]
    assert [episode.length for episode in finished] == [1, 1, 3, 3]


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "7", float("nan"), float("inf")])
def test_a_limit_is_a_positive_int(limit):
    with pytest.raises(ArgumentError, match="max_episode_steps must be a positive int or None"):
        run_episodes(act, of_lengths(3), 1, max_episode_steps=limit)
