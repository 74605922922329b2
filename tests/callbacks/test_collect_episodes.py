"""What `CollectEpisodes` puts into the queue; the tests of agents say how that is learned from."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kerasrl.callbacks import CollectEpisodes
from kerasrl.errors import ArgumentError, EnvError
from kerasrl.testing import CountingEnv

NEVER = 10**9


def lengths_of(rollout):
    return np.count_nonzero(rollout["valid"], axis=0).tolist()


def numbers_of(rollout):
    """The number of each column's episode."""
    return rollout["observation"][0, :, 0].tolist()


def check_whole(rollout, lengths, truncates=False):
    """Each column is one whole episode, from its first step to its end, and nothing after it."""
    for i in range(rollout["valid"].shape[1]):
        column = {key: leaf[:, i] for key, leaf in rollout.items()}
        episode = int(column["observation"][0, 0])
        length, rest = lengths[i], len(column["valid"]) - lengths[i]
        times = np.arange(length)
        steps = np.stack([np.full(length, episode), times], axis=-1)
        np.testing.assert_array_equal(column["valid"], [True] * length + [False] * rest)
        np.testing.assert_array_equal(column["observation"][:length], steps)
        np.testing.assert_array_equal(column["action"][:length], times % 2)
        np.testing.assert_array_equal(column["reward"], [*(times + 1), *[0] * rest])
        np.testing.assert_array_equal(np.nonzero(column["ended"])[0], [length - 1])
        discount = [*[1] * (length - 1), int(truncates), *[0] * rest]
        np.testing.assert_array_equal(column["discount"], discount)
        np.testing.assert_array_equal(column["policy"][:length, -1], 100 * episode + times)
        if truncates:
            assert column["next_policy"][length - 1, -1] == 100 * episode + length
        # The rest is something that a network can be called with.
        for key in ("observation", "action"):
            assert (column[key][length:] == rollout[key][0, 0]).all()


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("autoreset", [None, *AutoresetMode], ids=str)
@pytest.mark.table
def test_columns_are_whole_episodes(collected, autoreset, truncates):
    lengths = [(3, 1, 2), (4,)]
    factories = [lambda cycle=cycle: CountingEnv(cycle, truncates) for cycle in lengths]
    left = iter(factories)
    env = lambda: next(left)()  # noqa: E731
    if autoreset is not None:
        env = SyncVectorEnv(factories, autoreset_mode=autoreset)
    _, rollouts, _ = collected(CollectEpisodes(3, max_steps=6), env, 3, num_envs=2)
    for rollout in rollouts:
        # Episodes 0 and 2 are of environment 0, which has done one more in between.
        first, other, second = map(int, numbers_of(rollout))
        assert second == first + 1
        expected = [lengths[0][first % 3], 4, lengths[0][second % 3]]
        assert lengths_of(rollout) == expected
        check_whole(rollout, expected, truncates)
    assert numbers_of(rollouts[0]) == [0, 0, 1]


def test_both_at_once_is_a_termination(collected):
    class Both(CountingEnv):
        def step(self, action):
            observation, reward, terminated, _, info = super().step(action)
            return observation, reward, terminated, terminated, info

    _, (rollout,), _ = collected(CollectEpisodes(2, max_steps=4), Both((3,)), 1)
    check_whole(rollout, [3, 3])


def test_one_environment_wastes_nothing(collected):
    env = CountingEnv((3, 1, 2))
    agent, rollouts, logs = collected(CollectEpisodes(2, max_steps=4), env, 3)
    assert [lengths_of(rollout) for rollout in rollouts] == [[3, 1], [2, 3], [1, 2]]
    assert [numbers_of(rollout) for rollout in rollouts] == [[0, 1], [2, 3], [4, 5]]
    assert len(env.actions) == int(agent.env_steps) == 12
    assert len(env.seeds) == 7  # Reset at the end of every episode, and not once more.
    assert [int(rollout["env_steps"][0, 0]) for rollout in rollouts] == [0, 4, 9]
    assert logs["env_steps"] == 12.0
    assert logs["episode_length"] == 2.0


def test_short_episodes_are_not_preferred(collected):
    made = []

    def factory():
        made.append(CountingEnv((5,) if not made else (1,)))
        return made[-1]

    agent, rollouts, _ = collected(CollectEpisodes(4, max_steps=5), factory, 2, num_envs=2)
    assert [lengths_of(rollout) for rollout in rollouts] == [[5, 1, 5, 1]] * 2
    # The second did eight more of its episodes in each turn, which nobody learns from.
    assert [numbers_of(rollout) for rollout in rollouts] == [[0, 0, 1, 1], [2, 10, 3, 11]]
    assert [len(env.actions) for env in made] == [20, 20]
    assert int(agent.env_steps) == 40


def test_what_was_begun_beyond_a_share_is_broken_off(collected):
    made = []

    def factory():
        made.append(CountingEnv((4,) if not made else (3,)))
        return made[-1]

    _, rollouts, _ = collected(CollectEpisodes(2, max_steps=5), factory, 2, num_envs=2)
    # After four steps the second is in the middle of its episode 1: all are reset.
    assert [numbers_of(rollout) for rollout in rollouts] == [[0, 0], [2, 2]]
    for rollout in rollouts:
        check_whole(rollout, [4, 3])


def test_more_environments_than_episodes(collected):
    _, rollouts, _ = collected(CollectEpisodes(2, max_steps=3), CountingEnv, 2, num_envs=3)
    for rollout in rollouts:
        check_whole(rollout, [3, 3])


def test_an_episode_of_exactly_max_steps_is_whole(collected):
    _, (rollout,), _ = collected(CollectEpisodes(2, max_steps=3), CountingEnv((3,)), 1)
    check_whole(rollout, [3, 3])


@pytest.mark.fault(24)
@pytest.mark.parametrize("lengths", [(4,), (2, 4), (NEVER,)])
def test_an_episode_longer_than_max_steps_says_what_to_do(collected, lengths):
    env = CountingEnv(lengths)
    rule = (
        r"environment 0: an episode has not ended after max_steps=3 steps, and whole "
        r"episodes are learned from. Pass CollectEpisodes\(max_steps=...\) with more, or wrap"
    )
    with pytest.raises(EnvError, match=rule):
        collected(CollectEpisodes(2, max_steps=3), env, 1)
    assert len(env.actions) == (5 if len(lengths) == 2 else 3)


def test_an_environment_that_is_through_may_go_on_for_longer(collected):
    left = iter([(3, 3), (1, NEVER)])
    env = lambda: CountingEnv(next(left))  # noqa: E731
    _, (rollout,), _ = collected(CollectEpisodes(2, max_steps=3), env, 1, num_envs=2)
    check_whole(rollout, [3, 1])


def test_actions_beyond_the_bounds_are_clipped_for_the_environment_only(collected):
    space = gym.spaces.Box(-1, 1, (1,), np.float32)
    env = CountingEnv((2,), action_space=space)
    _, (rollout,), _ = collected(
        CollectEpisodes(1, max_steps=2),
        env,
        1,
        actions=lambda value: np.float32([[3 - 6 * value[0]]]),
    )
    np.testing.assert_array_equal(rollout["action"][:, 0, 0], [3, -3])
    np.testing.assert_array_equal(env.actions, [[1], [-1]])


def test_rewards_are_scaled_to_learn_from_and_not_to_log(collected):
    _, (rollout,), logs = collected(
        CollectEpisodes(1, max_steps=4), CountingEnv((3,)), 1, reward_scale=2.0
    )
    np.testing.assert_array_equal(rollout["reward"][:, 0], [2, 4, 6, 0])
    assert logs["episode_return"] == 6.0


@pytest.mark.parametrize("name", ["episodes", "max_steps"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_bad_arguments_are_refused(name, value):
    with pytest.raises(ArgumentError, match=f"{name} must be a positive int; received {value}"):
        CollectEpisodes(**{name: value})
