import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from sinks import ListSink, step

from kerasrl.envs import EnvSpec
from kerasrl.errors import ArgumentError
from kerasrl.experience import Sequences
from kerasrl.policies import PolicySpec, PolicyStep

ENV = EnvSpec(gym.spaces.Box(-99, 99, (), np.float32), gym.spaces.Discrete(99, start=1))
STATE = [tf.TensorSpec((2,), tf.float32), tf.TensorSpec((), tf.int32)]
POLICY = PolicySpec(state=STATE, info={"visits": tf.TensorSpec((2,), tf.int32)})


def acted(observation):
    """Action 1 more than the observation, a state of its tenfold, visits of its hundredfold."""
    observation = np.float32(observation)
    pair = np.stack([observation, observation], axis=-1)
    state = [10 * pair, np.int32(10 * observation)]
    return PolicyStep(np.int64(observation) + 1, (), state, {"visits": np.int32(100 * pair)})


def write(writer, steps):
    for observation, taken in steps:
        writer.append([np.float32(observation)], acted(observation), taken)


def made(length, period, num_envs=1):
    experience = Sequences(length, period)
    sink = ListSink(experience.spec(ENV, POLICY, num_envs))
    return sink, experience.writer(sink, num_envs)


def episode(first, length, **end):
    """(observation, step)s of one environment that counts up from `first`, and pays as much."""
    last = first + length - 1
    return [
        ([t], step([t], [t + 1], [0] if t == last else None, **(end if t == last else {})))
        for t in range(first, first + length)
    ]


def rows(item, key):
    return item[key].tolist()


def test_the_spec_of_a_sequence():
    assert Sequences(4, 2).spec(ENV, POLICY, 3) == {
        "observation": tf.TensorSpec((4,), tf.float32),
        "action": tf.TensorSpec((4,), tf.int64),
        "reward": tf.TensorSpec((4,), tf.float32),
        "discount": tf.TensorSpec((4,), tf.float32),
        "weight": tf.TensorSpec((4,), tf.float32),
        "visits": tf.TensorSpec((4, 2), tf.int32),
        "state": tuple(STATE),
    }
    assert "state" not in Sequences(4, 2).spec(ENV)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_an_episode_by_hand(end):
    sink, writer = made(4, 2)
    write(writer, episode(1, 5, **{end: 1}))
    first, second = sink.written
    assert rows(first, "observation") == [1, 2, 3, 4]
    assert rows(first, "action") == [2, 3, 4, 5]
    assert rows(first, "reward") == [1, 2, 3, 4]
    assert rows(first, "discount") == rows(first, "weight") == [1, 1, 1, 1]
    assert rows(first, "visits") == [[100 * t] * 2 for t in (1, 2, 3, 4)]
    assert first["state"][0].tolist() == [10, 10] and first["state"][1] == 10
    # The second begins two steps later; its last row is the real last observation.
    assert rows(second, "observation") == [3, 4, 5, 6]
    assert rows(second, "action") == [4, 5, 6, 6]
    assert rows(second, "reward") == [3, 4, 5, 0]
    assert rows(second, "discount") == [1, 1, float(end == "truncated"), 0]
    assert rows(second, "weight") == [1, 1, 1, 0]
    assert second["state"][0].tolist() == [30, 30] and second["state"][1] == 30
    assert writer.items == 2


def test_a_last_step_that_fills_its_sequence_is_followed_in_the_next():
    sink, writer = made(4, 2)
    write(writer, episode(1, 4, truncated=1))
    first, second = sink.written
    assert rows(first, "observation") == [1, 2, 3, 4] and rows(first, "weight") == [1] * 4
    assert rows(second, "observation") == [3, 4, 5, 5]
    assert rows(second, "weight") == [1, 1, 0, 0]
    assert rows(second, "visits")[2:] == [[400, 400]] * 2


def test_every_step_is_learned_from_and_nothing_crosses_an_episode():
    """Of pairs of rows t and t + 1 whose first is a step; observations tell the step."""
    for length, period in [(2, 1), (5, 2), (5, 4), (7, 3)]:
        sink, writer = made(length, period)
        lengths = [1, 2, 3, 7, 8, 9, 10, 11, 4]
        begins = np.cumsum([0, *[n + 1 for n in lengths]])[:-1]
        for begin, count in zip(begins, lengths, strict=True):
            write(writer, episode(begin, count, truncated=1))
        pairs = set()
        for item in sink.written:
            observation = item["observation"]
            for t in np.nonzero(item["weight"][:-1])[0]:
                assert observation[t + 1] == observation[t] + 1
                pairs.add(float(observation[t]))
        taken = [b + t for b, n in zip(begins, lengths, strict=True) for t in range(n)]
        assert sorted(pairs) == taken


def test_environments_of_their_own_paces():
    sink, writer = made(3, 1, num_envs=2)
    write(
        writer,
        [
            ([1, 50], step([1, 5], [2, 51], [8, 51], terminated=[1, 0])),
            ([8, 51], step([2, 6], [9, 52], valid=[0, 1])),  # Environment 0 resets.
            ([9, 52], step([3, 7], [10, 53])),
            ([10, 53], step([4, 8], [11, 54])),
        ],
    )
    assert [rows(item, "observation") for item in sink.written] == [
        [1, 2, 2],
        [50, 51, 52],
        [51, 52, 53],
    ]


def test_an_episode_that_is_cut_off_leaves_no_trace():
    sink, writer = made(3, 1)
    cut = step([0], [9], [20], valid=[0], cut=[1])
    write(writer, [*episode(1, 2), ([3], cut), *episode(20, 3)])
    (item,) = sink.written
    assert rows(item, "observation") == [20, 21, 22]
    assert item["state"][1] == 200


@pytest.mark.parametrize("at", range(1, 9))
def test_it_goes_on_where_its_state_was_kept(at):
    steps = [*episode(1, 5, truncated=1), *episode(30, 4, terminated=1)]
    whole, writer = made(4, 2)
    write(writer, steps)
    parts, first = made(4, 2)
    write(first, steps[:at])
    state, before = first.get_state(), list(parts.written)
    write(first, steps[at:])  # What follows does not change the state.
    parts.written[:] = before
    second = Sequences(4, 2).writer(parts, 1)
    second.set_state(state)
    write(second, steps[at:])
    assert len(whole.written) == 4
    tf.nest.map_structure(np.testing.assert_array_equal, whole.written, parts.written)


@pytest.mark.parametrize(
    ("length", "period", "rule"),
    [
        (1, 1, "length must be an int of at least 2; received 1"),
        (4, 0, "period must be a positive int; received 0"),
        (4, 4, "period must be less than length=4, .* received 4"),
    ],
)
def test_arguments_out_of_range(length, period, rule):
    with pytest.raises(ArgumentError, match=rule):
        Sequences(length, period)


def test_a_state_that_is_stored_must_be_given():
    _, writer = made(4, 2)
    acted = PolicyStep(np.array([1]), info={"visits": np.zeros((1, 2))})
    with pytest.raises(ArgumentError, match=r"PolicyStep.state must have the 2 arrays"):
        writer.append([np.float32([1])], acted, step([1], [2]))
