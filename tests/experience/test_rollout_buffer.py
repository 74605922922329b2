import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec, Step
from kerasrl.experience import RolloutBuffer, rollout_spec
from kerasrl.experience.packing import Packer
from kerasrl.policies import PolicySpec, PolicyStep

OBSERVATIONS = gym.spaces.Dict(
    {"image": gym.spaces.Box(0, 255, (2, 1), np.uint8), "x": gym.spaces.Box(-9, 9, (), np.float64)}
)
SPEC = rollout_spec(
    EnvSpec(OBSERVATIONS, gym.spaces.MultiBinary(2)),
    PolicySpec(tf.TensorSpec((4,), tf.float32)),
    3,
    2,
)


def test_everything_is_time_major():
    leaf = tf.TensorSpec
    assert {
        "observation": {"image": leaf((3, 2, 2, 1), tf.uint8), "x": leaf((3, 2), tf.float64)},
        "action": leaf((3, 2, 2), tf.int8),
        "reward": leaf((3, 2), tf.float32),
        "discount": leaf((3, 2), tf.float32),
        "ended": leaf((3, 2), tf.bool),
        "valid": leaf((3, 2), tf.bool),
        "policy": leaf((3, 2, 4), tf.float32),
        "next_policy": leaf((3, 2, 4), tf.float32),
        "env_steps": leaf((3, 2), tf.int64),
    } == SPEC


def step(reward, terminated=(False, False), truncated=(False, False), valid=(True, True)):
    reward, *flags = np.float32(reward), *map(np.array, (terminated, truncated))
    return Step(reward, *flags, [], [], np.array(valid), [], np.zeros(2, bool))


def of(number):
    """An observation, an action and a policy's output, all of one number and of its tenfold."""
    both = np.array([number, 10 * number])
    return (
        [np.uint8(both).repeat(2).reshape(2, 2, 1), np.float64(both)],
        PolicyStep(np.int8(both).repeat(2).reshape(2, 2), np.float32(both).repeat(4).reshape(2, 4)),
    )


def test_a_time_for_all_environments():
    writer = RolloutBuffer(Packer(SPEC), env_steps=70)
    writer.write(1, *of(3), step([5, 6], (True, False), (False, True), (True, False)))
    rollout = {key: writer.column(key) for key in SPEC if key != "observation"}
    assert all((leaf[[0, 2]] == 0).all() for key, leaf in rollout.items() if key != "env_steps")
    assert (rollout["env_steps"] == 70).all()
    written = {key: leaf[1].tolist() for key, leaf in rollout.items()}
    assert written == {
        "action": [[3, 3], [30, 30]],
        "reward": [5, 6],
        "discount": [0, 1],
        "ended": [True, True],
        "valid": [True, False],
        "policy": [[3] * 4, [30] * 4],
        "next_policy": [[0] * 4] * 2,
        "env_steps": [70, 70],
    }
    image, x = (writer.packed[field][0] for field in Packer(SPEC).fields["observation"])
    assert image[1].tolist() == [[[3], [3]], [[30], [30]]]
    assert x.tolist() == [[0, 0], [3, 30], [0, 0]]


def test_places_for_some_environments_and_the_rest_filled():
    writer = RolloutBuffer(Packer(SPEC), env_steps=0)
    # Environment 1 writes its column at time 0, and then both at times of their own.
    writer.write(([0], [0]), *of(1), step([7, 8]), of=np.array([False, True]))
    writer.write(([2, 1], [1, 0]), *of(2), step([7, 8]), of=np.array([True, True]))
    assert writer.column("reward").tolist() == [[8, 0], [8, 0], [0, 7]]
    valid = [[True, False], [True, False], [False, True]]
    assert writer.column("valid").tolist() == valid
    assert writer.column("action")[..., 0].tolist() == [[10, 0], [20, 0], [0, 2]]
    writer.fill()
    assert writer.column("action")[..., 0].tolist() == [[10, 10], [20, 10], [10, 2]]
    image, x = (writer.packed[field][0] for field in Packer(SPEC).fields["observation"])
    assert x.tolist() == image[:, :, 1, 0].tolist() == [[10, 10], [20, 10], [10, 2]]
    assert writer.column("reward").tolist() == [[8, 0], [8, 0], [0, 7]]
    assert writer.column("valid").tolist() == valid


def test_what_was_written_to_a_column_is_taken_back():
    writer = RolloutBuffer(Packer(SPEC), env_steps=70)
    for time in range(3):
        writer.write(time, *of(time + 1), step([5, 6], (True, True)))
    writer.drop(1)
    assert (writer.column("env_steps") == 70).all()
    for key in SPEC:
        if key not in ("env_steps", "observation", "next_policy"):
            assert writer.column(key)[:, 0].any() == (key != "discount")
            assert not writer.column(key)[:, 1].any()
    for field in Packer(SPEC).fields["observation"]:
        assert writer.packed[field][0][:, 0].any() and not writer.packed[field][0][:, 1].any()
