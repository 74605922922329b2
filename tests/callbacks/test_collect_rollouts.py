"""What `CollectRollouts` puts into the queue; the tests of agents say how that is learned from."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from kerasrl.callbacks import CollectRollouts
from kerasrl.errors import ArgumentError
from kerasrl.testing import CountingEnv

NEVER = 10**9
# The lengths of the episodes of three environments, over and over again.
LENGTHS = [(3, 1, 2), (5,), (1,)]


class EndingEnv(CountingEnv):
    """A `CountingEnv` that ends by termination, by truncation, or by both at once."""

    def __init__(self, lengths, ending="terminates", **arguments):
        super().__init__(lengths, truncates=ending == "truncates", **arguments)
        self.ending = ending

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return (
            observation,
            reward,
            terminated,
            truncated or self.ending == "both" * terminated,
            info,
        )


def steps_of(lengths, ending, count, own_step_to_reset):
    """What a rollout of `count` steps in one environment has to hold, worked out on its own."""
    rows = []
    episode = 0
    while len(rows) < count:
        length = lengths[episode % len(lengths)]
        for time in range(min(length, count)):
            ended = time + 1 == length
            rows.append(
                {
                    "observation": [episode, time],
                    "action": time % 2,
                    "reward": time + 1,
                    "discount": 0 if ended and ending != "truncates" else 1,
                    "ended": ended,
                    "valid": True,
                    "value": 100 * episode + time,
                    "next_value": 100 * episode + time + 1,
                }
            )
        if own_step_to_reset:
            rows.append({"valid": False})
        episode += 1
    return rows[:count]


def check(rollouts, env, expected):
    """Compares one environment's column of rollouts with what it has to hold."""
    column = {
        key: np.concatenate([rollout[key][:, env] for rollout in rollouts]) for key in rollouts[0]
    }
    column["value"] = column["policy"][:, -1]
    column["next_value"] = column["next_policy"][:, -1]
    assert len(column["valid"]) == len(expected)
    for t, row in enumerate(expected):
        for key, value in row.items():
            if key != "next_value" or row["discount"]:
                np.testing.assert_array_equal(column[key][t], value, err_msg=f"{key} at {t}")


@pytest.mark.fault(18)
@pytest.mark.fault(20)
@pytest.mark.parametrize("ending", ["terminates", "truncates", "both"])
@pytest.mark.parametrize("autoreset", [None, *AutoresetMode], ids=str)
@pytest.mark.table
def test_rollouts_hold_what_happened(collected, autoreset, ending):
    factories = [lambda lengths=lengths: EndingEnv(lengths, ending) for lengths in LENGTHS]
    if autoreset is None:
        left = iter(factories)
        env, num_envs = (lambda: next(left)()), 3
    else:
        env, num_envs = SyncVectorEnv(factories, autoreset_mode=autoreset), 3
    agent, rollouts, _ = collected(CollectRollouts(4), env, 4, num_envs)
    assert [rollout["reward"].shape for rollout in rollouts] == [(4, 3)] * 4
    for i, lengths in enumerate(LENGTHS):
        own_step = autoreset == AutoresetMode.NEXT_STEP
        check(rollouts, i, steps_of(lengths, ending, 16, own_step))
    before = np.cumsum([0, *[np.count_nonzero(rollout["valid"]) for rollout in rollouts]])
    for steps, rollout in zip(before[:-1], rollouts, strict=True):
        assert (rollout["env_steps"] == steps).all()
    assert int(agent.env_steps) == before[-1]
    assert (before[-1] == 48) == (autoreset != AutoresetMode.NEXT_STEP)


@pytest.mark.fault(24)
@pytest.mark.parametrize("ending", ["terminates", "truncates"])
@pytest.mark.parametrize("lengths", [(NEVER,), (11, NEVER)])
def test_episodes_go_on_from_one_rollout_to_the_next(collected, lengths, ending):
    env = EndingEnv(lengths, ending)
    _, rollouts, logs = collected(CollectRollouts(4), env, 4)
    check(rollouts, 0, steps_of(lengths, ending, 16, own_step_to_reset=False))
    assert env.seeds == [None] * len(lengths)  # It is reset where an episode ends, only.
    assert ("episode_return" in logs) == (len(lengths) == 2)


def test_a_rollout_of_one_step(collected):
    _, rollouts, _ = collected(CollectRollouts(1), EndingEnv((2, 1), "truncates"), 6)
    check(rollouts, 0, steps_of((2, 1), "truncates", 6, own_step_to_reset=False))


def test_dtypes_are_those_of_the_spaces(collected):
    _, (rollout,), _ = collected(CollectRollouts(2), CountingEnv(), 1)
    dtypes = {key: leaf.dtype for key, leaf in rollout.items()}
    assert dtypes == {
        "observation": np.float32,
        "action": np.int64,
        "reward": np.float32,
        "discount": np.float32,
        "ended": bool,
        "valid": bool,
        "policy": np.float32,
        "next_policy": np.float32,
        "env_steps": np.int64,
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_beyond_the_bounds_are_clipped_for_the_environment_only(collected, dtype):
    low, high = [[-1, 0], [-2, -3]], [[1, 0.5], [2, np.inf]]
    space = gym.spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)
    drawn = np.array([[-3, 0.25], [5, -9]], dtype), np.array([[0.5, 2], [-5, 99]], dtype)
    env = CountingEnv((9,), action_space=space)
    _, (rollout,), _ = collected(
        CollectRollouts(2), env, 1, actions=lambda value: drawn[int(value[0]) % 2][np.newaxis]
    )
    np.testing.assert_array_equal(rollout["action"][:, 0], drawn)
    np.testing.assert_array_equal(env.actions, [[[-1, 0.25], [2, -3]], [[0.5, 0.5], [-2, 99]]])
    assert {action.dtype for action in env.actions} == {np.dtype(dtype)}
    assert rollout["action"].dtype == dtype


def test_rewards_are_scaled_to_learn_from_and_not_to_log(collected):
    _, (rollout,), logs = collected(CollectRollouts(6), CountingEnv((3, 2)), 1, reward_scale=0.5)
    np.testing.assert_array_equal(rollout["reward"][:, 0], [0.5, 1, 1.5, 0.5, 1, 0.5])
    assert logs["episode_return"] == (6 + 3) / 2
    assert logs["episode_length"] == 2.5
    assert logs["env_steps"] == 6.0


@pytest.mark.parametrize("length", [0, -1, 1.5])
def test_bad_lengths_are_refused(length):
    with pytest.raises(ArgumentError, match=f"length must be a positive int; received {length}"):
        CollectRollouts(length)
