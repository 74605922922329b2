import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from sinks import ListSink, TenfoldPolicy, step

from kerasrl.envs import EnvSpec
from kerasrl.errors import EnvError
from kerasrl.experience import Episodes
from kerasrl.policies import PolicySpec, PolicyStep

ENV = EnvSpec(gym.spaces.Box(-99, 99, (), np.float32), gym.spaces.Discrete(99))
POLICY = PolicySpec({name: tf.TensorSpec((), tf.float32) for name in "ab"})


def write(writer, steps):
    for observation, taken in steps:
        observation = np.float32(observation)
        acted = PolicyStep(np.int64(observation), {"b": 10 * observation, "a": -observation})
        writer.append([observation], acted, taken)


def made(episodes, max_steps, num_envs):
    experience = Episodes(episodes, max_steps)
    sink = ListSink(experience.spec(ENV, POLICY, num_envs))
    return sink, experience.writer(sink, num_envs, TenfoldPolicy())


def test_episodes_by_hand():
    sink, writer = made(3, 3, 2)
    writer.env_steps = 8
    write(
        writer,
        [
            # The share of environment 0 is columns 0 and 2, that of environment 1 column 1.
            ([1, 50], step([1, 5], [2, 51], [7, 51], truncated=[1, 0])),
            ([7, 51], step([2, 6], [8, 52], [8, 60], terminated=[0, 1])),
            # What environment 1 does after its share is not learned from.
            ([8, 60], step([3, 9], [9, 61], terminated=[1, 0])),
        ],
    )
    (item,) = sink.written
    assert item["valid"].T.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert item["reward"].T.tolist() == [[1, 0, 0], [5, 6, 0], [2, 3, 0]]
    assert item["discount"].T.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert item["ended"].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    # The first observation and action stand where nothing is valid.
    assert item["observation"].T.tolist() == [[1, 1, 1], [50, 51, 1], [7, 8, 1]]
    assert item["action"].T.tolist() == [[1, 1, 1], [50, 51, 1], [7, 8, 1]]
    assert item["policy"]["b"].T.tolist() == [[10, 0, 0], [500, 510, 0], [70, 80, 0]]
    assert item["next_policy"]["b"].T.tolist() == [[20, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert (item["env_steps"] == 8).all()
    assert writer.items == 1 and writer.env_steps == 14
    assert not writer.at_start  # Environment 1 is within an episode.


def test_an_environment_within_an_episode_is_waited_for():
    sink, writer = made(2, 4, 2)
    write(
        writer,
        [
            ([0, 10], step([1, 1], [1, 11], [0, 11], terminated=[1, 0])),
            ([0, 11], step([2, 2], [1, 12], [1, 10], terminated=[0, 1])),
            # Environment 0 is at the second step of an episode.
            ([1, 10], step([3, 3], [2, 11], [2, 10], terminated=[0, 1])),
            ([2, 10], step([4, 4], [3, 11], [0, 11], terminated=[1, 0])),
            ([0, 11], step([5, 5], [1, 12], terminated=[1, 1])),
        ],
    )
    assert [item["reward"][:, 0].tolist() for item in sink.written] == [[1, 0, 0, 0], [5, 0, 0, 0]]
    assert [item["reward"][:, 1].tolist() for item in sink.written] == [[1, 2, 0, 0], [3, 0, 0, 0]]
    assert [item["env_steps"][0, 0] for item in sink.written] == [0, 4]
    assert writer.at_start


def test_an_episode_that_is_cut_off_is_dropped():
    sink, writer = made(1, 3, 1)
    write(
        writer,
        [
            ([1], step([1], [2])),
            ([2], step([0], [9], [5], valid=[0], cut=[1])),
            ([5], step([3], [6])),
            ([6], step([4], [7], terminated=[1])),
        ],
    )
    (item,) = sink.written
    assert item["reward"].T.tolist() == [[3, 4, 0]]
    assert item["valid"].T.tolist() == [[True, True, False]]


def test_a_step_that_is_not_valid_leaves_no_trace():
    sink, writer = made(2, 3, 1)
    reset = step([100], [50], valid=[0])
    write(writer, [([1], step([1], [2], truncated=[1])), ([2], reset)])
    assert writer.at_start
    write(writer, [([5], step([3], [6], terminated=[1]))])
    (item,) = sink.written
    assert item["reward"].T.tolist() == [[1, 0, 0], [3, 0, 0]]
    assert writer.env_steps == 2


def test_an_episode_that_is_too_long():
    _, writer = made(1, 2, 1)
    rule = r"environment 0: an episode has not ended after max_steps=2 .*wrappers\.TimeLimit"
    write(writer, [([1], step([1], [2]))])
    with pytest.raises(EnvError, match=rule):
        write(writer, [([2], step([1], [3]))])


@pytest.mark.parametrize("at", range(1, 6))
def test_it_goes_on_where_its_state_was_kept(at):
    rng = np.random.default_rng(0)
    ends = [[0, 0], [1, 0], [0, 1], [1, 0], [0, 1], [1, 1], [1, 1], [1, 1]]
    steps = [
        (rng.integers(9, size=2), step(*rng.integers(9, size=(3, 2)), truncated=end))
        for end in ends
    ]
    whole, writer = made(3, 4, 2)
    write(writer, steps)
    parts, first = made(3, 4, 2)
    write(first, steps[:at])
    state = first.get_state()
    second = Episodes(3, 4).writer(parts, 2, TenfoldPolicy())
    second.set_state(state)
    second.env_steps = 2 * at
    write(second, steps[at:])
    assert len(whole.written) == 2
    tf.nest.map_structure(np.testing.assert_array_equal, whole.written, parts.written)
