import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from sinks import ListSink, TenfoldPolicy, step

from kerasrl.envs import EnvSpec
from kerasrl.errors import ArgumentError
from kerasrl.experience import Rollouts
from kerasrl.policies import PolicySpec, PolicyStep

ENV = EnvSpec(gym.spaces.Box(-99, 99, (), np.float32), gym.spaces.Discrete(99))
OUTPUT = {name: tf.TensorSpec((), tf.float32) for name in "ab"}
POLICY = PolicySpec(OUTPUT, info={"visits": tf.TensorSpec((2,), tf.int32)})


def acted(observation, action=(0, 0)):
    output = {"b": 10 * np.float32(observation), "a": -np.float32(observation)}
    visits = np.int32([[1, 2], [3, 4]]) + np.int32(observation[0])
    return PolicyStep(np.array(action), output, info={"visits": visits})


def write(writer, steps):
    """Appends (observation, step)s, all of which the policy acted on."""
    for observation, taken in steps:
        writer.append([np.float32(observation)], acted(observation), taken)


def test_a_rollout_by_hand():
    experience, policy = Rollouts(3), TenfoldPolicy()
    sink = ListSink(experience.spec(ENV, POLICY, 2))
    writer = experience.writer(sink, 2, policy)
    writer.env_steps = 40
    write(
        writer,
        [
            # Environment 0 is truncated at 8, and begins anew at 1.
            ([7, 20], step([1, 2], [8, 21], [1, 21], truncated=[1, 0])),
            # Environment 1 terminates at 22.
            ([1, 21], step([3, 4], [2, 22], [2, 5], terminated=[0, 1])),
            ([2, 5], step([5, 6], [3, 6])),
        ],
    )
    (item,) = sink.written
    assert writer.items == 1 and writer.env_steps == 46
    assert item["observation"].tolist() == [[7, 20], [1, 21], [2, 5]]
    assert item["reward"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert item["discount"].tolist() == [[1, 1], [1, 0], [1, 1]]
    assert item["ended"].tolist() == [[True, False], [False, True], [False, False]]
    assert item["valid"].all()
    assert item["policy"]["b"].tolist() == [[70, 200], [10, 210], [20, 50]]
    # Where it was truncated, of the real last observation; at the end, of what is acted on next.
    assert item["next_policy"]["b"].tolist() == [[80, 210], [20, 50], [30, 60]]
    assert item["next_policy"]["a"].tolist() == [[-8, -21], [-2, -5], [-3, -6]]
    assert item["visits"][:, 1].tolist() == [[10, 11], [4, 5], [5, 6]]
    assert (item["env_steps"] == 40).all()
    assert policy.asked == 2


def test_a_failure_ends_the_step_before_it():
    experience = Rollouts(2)
    sink = ListSink(experience.spec(ENV, POLICY, 2))
    failed = step([0, 4], [9, 22], [1, 22], valid=[0, 1], cut=[1, 0])
    writer = experience.writer(sink, 2, TenfoldPolicy())
    write(writer, [([7, 20], step([1, 2], [8, 21])), ([8, 21], failed)])
    (item,) = sink.written
    assert item["ended"].tolist() == [[True, False], [False, False]]
    assert item["valid"].tolist() == [[True, True], [False, True]]
    assert item["next_policy"]["b"][0].tolist() == [80, 210]
    assert writer.env_steps == 3


def test_rollouts_follow_one_another_and_know_when_they_began():
    experience = Rollouts(2)
    sink = ListSink(experience.spec(ENV, POLICY, 2))
    writer = experience.writer(sink, 2, TenfoldPolicy())
    write(writer, [([t, t], step([t, t], [t + 1, t + 1], truncated=t == 0)) for t in range(4)])
    assert [item["reward"][:, 0].tolist() for item in sink.written] == [[0, 1], [2, 3]]
    assert [item["env_steps"][0, 0] for item in sink.written] == [0, 4]
    assert sink.written[1]["ended"].sum() == 0


@pytest.mark.parametrize("at", [1, 2, 3])
def test_it_goes_on_where_its_state_was_kept(at):
    experience = Rollouts(3)
    rng = np.random.default_rng(0)
    steps = [
        (rng.integers(9, size=2), step(*rng.integers(9, size=(3, 2)), truncated=t == 1))
        for t in range(6)
    ]
    spec = experience.spec(ENV, POLICY, 2)
    whole, parts = ListSink(spec), ListSink(spec)
    write(experience.writer(whole, 2, TenfoldPolicy()), steps)
    first = experience.writer(parts, 2, TenfoldPolicy())
    write(first, steps[:at])
    state = first.get_state()
    write(first, steps[at : at + 1])  # What follows does not change the state.
    del parts.written[at // 3 :]
    second = experience.writer(parts, 2, TenfoldPolicy())
    second.set_state(state)
    second.env_steps = 2 * at
    write(second, steps[at:])
    assert len(whole.written) == 2
    tf.nest.map_structure(np.testing.assert_array_equal, whole.written, parts.written)


def test_a_policy_without_an_output_needs_not_be_there():
    experience = Rollouts(1)
    sink = ListSink(experience.spec(ENV))
    writer = experience.writer(sink)
    writer.append([np.float32([3])], PolicyStep(np.array([5])), step([1], [4]))
    (item,) = sink.written
    assert item["policy"] == item["next_policy"] == ()
    assert item["action"].tolist() == [[5]]


def test_a_policy_with_an_output_must_be_there():
    experience = Rollouts(1)
    with pytest.raises(ArgumentError, match=r"needs the policy that acts.*received policy=None"):
        experience.writer(ListSink(experience.spec(ENV, POLICY)))


def test_what_is_stored_must_be_given():
    experience = Rollouts(1)
    sink = ListSink(experience.spec(ENV, PolicySpec(info=POLICY.info)))
    with pytest.raises(ArgumentError, match=r"PolicyStep.info must have \['visits'\]"):
        experience.writer(sink).append([np.float32([3])], PolicyStep(np.array([5])), step([1], [4]))


def test_what_is_stored_must_have_a_name_of_its_own():
    info = {"reward": tf.TensorSpec((), tf.float32)}
    with pytest.raises(ArgumentError, match=r"info_spec.*received \['reward'\]"):
        Rollouts(1).spec(ENV, PolicySpec(info=info))
