import json
import warnings

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.envs import EnvSpec
from kerasrl.envs.spec import space_leaves
from kerasrl.errors import ArgumentTypeError, SpaceError
from kerasrl.testing import nested_space

spaces = gym.spaces
DISCRETE = spaces.Discrete(2)


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (3, 2), np.float32), (3, 2), tf.float32),
        (spaces.Box(-1, 1, (), np.float64), (), tf.float64),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), (8, 8, 3), tf.uint8),
        (spaces.Discrete(3, start=-1), (), tf.int64),
        (spaces.MultiBinary(4), (4,), tf.int8),
        (spaces.MultiBinary((2, 3)), (2, 3), tf.int8),
        (spaces.MultiDiscrete([2, 3]), (2,), tf.int64),
        (spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])), (2, 2), tf.int64),
    ],
)
def test_a_leaf(space, shape, dtype):
    spec = EnvSpec(space, space)
    assert spec.observation == tf.TensorSpec(shape, dtype)
    assert spec.action == tf.TensorSpec(shape, dtype)


def test_a_nest_keeps_its_structure():
    observation = EnvSpec(nested_space(), DISCRETE).observation
    assert observation == {
        "choices": tf.TensorSpec((2, 2), tf.int64),
        "image": tf.TensorSpec((2, 2, 1), tf.uint8),
        "pair": (
            tf.TensorSpec((), tf.int64),
            {"bits": tf.TensorSpec((2, 2), tf.int8), "scalar": tf.TensorSpec((), tf.float64)},
        ),
        "vector": tf.TensorSpec((3,), tf.float32),
    }


def test_leaves_stand_in_the_order_of_tf_nest():
    space = nested_space()
    paths = [path for path, _ in space_leaves(space, "observation")]
    leaves = [leaf for _, leaf in space_leaves(space)]
    specs = tf.nest.flatten(EnvSpec(space, DISCRETE).observation)
    assert paths == [
        "observation['choices']",
        "observation['image']",
        "observation['pair'][0]",
        "observation['pair'][1]['bits']",
        "observation['pair'][1]['scalar']",
        "observation['vector']",
    ]
    assert [tuple(leaf.shape) for leaf in leaves] == [tuple(spec.shape) for spec in specs]


@pytest.mark.fault(12)
@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    ],
)
def test_kinds_that_are_not_served(space):
    name = type(space).__name__
    with pytest.raises(SpaceError, match=f"^observation_space is {name}.*Supported are .*Wrap"):
        EnvSpec(space, DISCRETE)
    with pytest.raises(SpaceError, match=rf"^observation_space\['a'\]\[0\] is {name}"):
        EnvSpec(spaces.Dict(a=spaces.Tuple([space])), DISCRETE)
    with pytest.raises(SpaceError, match=f"^action_space is {name}"):
        EnvSpec(DISCRETE, space)


@pytest.mark.fault(12)
@pytest.mark.parametrize("space", [spaces.Dict(a=DISCRETE), spaces.Tuple([DISCRETE])])
def test_nested_actions_are_not_served(space):
    with pytest.raises(SpaceError, match=f"^action_space is {type(space).__name__}"):
        EnvSpec(DISCRETE, space)


@pytest.mark.fault(15)
def test_bounds_the_wrong_way_round():
    space = spaces.Box(-1, 1, (2, 2))
    space.low[1, 0] = 3  # Gymnasium refuses it in the constructor.
    with pytest.raises(SpaceError, match=r"low > high at index \(1, 0\): 3.0 > 1.0"):
        EnvSpec(DISCRETE, space)
    with pytest.raises(SpaceError, match=r"^observation_space\['x'\] has low > high"):
        EnvSpec(spaces.Dict(x=space), DISCRETE)


@pytest.mark.fault(15)
def test_a_constant_action_is_worth_a_warning():
    constant = spaces.Box(np.float32([0, 1]), np.float32([1, 1]))
    with pytest.warns(UserWarning, match=r"low == high at index \(1,\).* always 1.0") as record:
        EnvSpec(constant, constant)
    assert len(record) == 1
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EnvSpec(constant, DISCRETE)


@pytest.mark.parametrize(
    "space",
    [
        nested_space(),
        spaces.Box(np.float32([-1, -np.inf]), np.float32([0.1, np.inf])),
        spaces.Box(0, 255, (4, 4, 1), np.uint8),
        spaces.MultiDiscrete([2, 3], start=[1, -1]),
    ],
)
def test_a_spec_survives_json(space):
    spec = EnvSpec(space, spaces.Discrete(3, start=4))
    config = json.loads(json.dumps(spec.get_config()))
    assert EnvSpec.from_config(config) == spec


@pytest.mark.regression(49)
@pytest.mark.parametrize(
    ("observation", "action", "path"),
    [
        (spaces.Box(-1, 1, (0,)), DISCRETE, "observation_space"),
        (spaces.Box(-1, 1, (3, 0)), DISCRETE, "observation_space"),
        (spaces.MultiDiscrete([]), DISCRETE, "observation_space"),
        (spaces.Dict(a=DISCRETE, b=spaces.Box(-1, 1, (0,))), DISCRETE, r"observation_space\['b'\]"),
        (
            spaces.Dict(a=spaces.Tuple([DISCRETE, spaces.Box(0, 255, (0, 4, 3), np.uint8)])),
            DISCRETE,
            r"observation_space\['a'\]\[1\]",
        ),
        (spaces.Dict(), DISCRETE, "observation_space"),
        (spaces.Tuple([DISCRETE, spaces.Dict(a=spaces.Tuple([]))]), DISCRETE, r".*\[1\]\['a'\]"),
        (DISCRETE, spaces.Box(-1, 1, (0,)), "action_space"),
        (DISCRETE, spaces.MultiDiscrete([]), "action_space"),
    ],
    ids=str,
)
def test_what_has_no_elements_is_refused_by_name(observation, action, path):
    with pytest.raises(SpaceError, match=f"^{path} is .*, which has no elements"):
        EnvSpec(observation, action)


@pytest.mark.regression(37)
@pytest.mark.parametrize(
    "env",
    [
        "CartPole-v1",
        gym.make("CartPole-v1"),
        lambda: gym.make("CartPole-v1"),
        gym.make_vec("CartPole-v1", 2),
        lambda: gym.make_vec("CartPole-v1", 2),
    ],
    ids=["id", "env", "callable", "vector", "callable of a vector"],
)
def test_the_spec_of_an_environment(env):
    cart_pole = gym.make("CartPole-v1")
    spec = EnvSpec(env)
    assert spec == EnvSpec(cart_pole.observation_space, cart_pole.action_space)
    assert repr(spec).startswith("EnvSpec(observation_space=Box(")


@pytest.mark.regression(37)
@pytest.mark.parametrize(
    "arguments",
    [(3,), (None,), (DISCRETE,), (DISCRETE, 3), ([], DISCRETE), (lambda: 3,)],
)
def test_what_has_no_spec_is_refused(arguments):
    with pytest.raises(ArgumentTypeError, match="EnvSpec needs an environment, or two"):
        EnvSpec(*arguments)
