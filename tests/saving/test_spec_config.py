import json

import gymnasium as gym
import numpy as np
import pytest

from kerasrl.envs import EnvSpec
from kerasrl.errors import LoadError
from kerasrl.saving.untrusted.spec_config import check_spec_config
from kerasrl.testing import nested_space

spaces = gym.spaces
Box = spaces.Box
DISCRETE = {"kind": "Discrete", "n": 2, "start": 0, "dtype": "int64"}
BOX = {"kind": "Box", "low": 0, "high": 1, "shape": [2], "dtype": "float32"}
MULTI = {"kind": "MultiDiscrete", "nvec": [2, 3], "start": [0, 0], "dtype": "int64"}


def check(observation_space, action_space=DISCRETE):
    check_spec_config({"observation_space": observation_space, "action_space": action_space})


@pytest.mark.parametrize(
    "space",
    [
        nested_space(),
        Box(np.float32([-1, -np.inf]), np.float32([0.1, np.inf])),
        Box(-np.inf, np.inf, (), np.float16),
        Box(np.finfo(np.float64).min, np.finfo(np.float64).max, (2,), np.float64),
        Box(0, 2**64 - 1, (2,), np.uint64),
        Box(0, 1, (2,), bool),
        spaces.Discrete(2**40, start=-(2**50)),
        spaces.MultiDiscrete([2, 3], dtype=np.int8, start=[-128, 125]),
        spaces.MultiBinary((2, 3)),
    ],
    ids=str,
)
def test_what_a_spec_says_of_itself_is_accepted(space):
    spec = EnvSpec(space, spaces.Discrete(3, start=4))
    config = json.loads(json.dumps(spec.get_config()))
    check_spec_config(config)
    assert EnvSpec.from_config(config) == spec


def test_infinities_may_be_strings():
    config = {**BOX, "low": ["-Infinity", 0], "high": "Infinity"}
    check(config)
    spec = EnvSpec.from_config({"observation_space": config, "action_space": DISCRETE})
    assert spec.observation_space == Box(np.float32([-np.inf, 0]), np.inf, (2,))


@pytest.mark.parametrize(
    ("space", "match"),
    [
        (None, "must be a space of a kind that kerasrl serves; received None"),
        ({"kind": "Text"}, "must be a space of a kind"),
        ({"kind": ["Box"]}, "must be a space of a kind"),
        ({"kind": "Dict", "spaces": [DISCRETE]}, "must hold spaces"),
        ({"kind": "Dict", "spaces": {}}, "must hold spaces"),
        ({"kind": "Tuple", "spaces": {"a": DISCRETE}}, "must hold spaces"),
        ({"kind": "Tuple", "spaces": [None]}, r"observation_space\[0\] must be a space"),
        ({"kind": "Dict", "spaces": {"a": 1}}, r"observation_space\['a'\] must be a space"),
        ({**DISCRETE, "module": "os"}, "must be a dict with dtype, kind, n, start; received"),
        ({**DISCRETE, "n": 0}, "must have at least one value"),
        ({**DISCRETE, "n": True}, "n must hold int64 numbers; received True"),
        ({**DISCRETE, "n": 2**63 - 1, "start": 2}, "none beyond int64"),
        ({**DISCRETE, "n": [2]}, r"n must be of shape \[\]"),
        ({**DISCRETE, "dtype": "float32"}, "must have a dtype out of int8, "),
        ({**DISCRETE, "dtype": ["int64"]}, "must have a dtype out of int8, "),
        ({**BOX, "dtype": "O"}, "must have a dtype out of float16, .* received 'O'"),
        ({**BOX, "low": [0, 0, 0]}, r"low must be of shape \[2\]"),
        ({**BOX, "low": [[0], 0]}, "low must hold float32 numbers; received "),
        ({**BOX, "low": {"a": 1}}, "low must hold float32 numbers"),
        ({**BOX, "low": "nan"}, "low must hold float32 numbers"),
        ({**BOX, "low": float("nan")}, "low must hold float32 numbers"),
        ({**BOX, "low": -1e300}, "low must hold float32 numbers"),
        ({**BOX, "low": 2}, "must have low <= high"),
        ({**BOX, "low": "Infinity", "high": "Infinity"}, "neither beyond all numbers"),
        ({**BOX, "dtype": "uint8", "high": 300}, "high must hold uint8 numbers; received 300"),
        ({**BOX, "shape": [2**13, 2**13]}, "may have 16777216 elements"),
        ({**BOX, "shape": [1, 2**62]}, "may have 16777216 elements"),
        ({**BOX, "shape": [0, 2**62]}, "must have a shape of ints, at least 1"),
        ({**BOX, "shape": [1] * 33}, "must have a list as its shape"),
        ({**BOX, "shape": [1.0]}, "must have a shape of ints, at least 1"),
        ({"kind": "MultiBinary", "n": 2}, "must have a list as its shape"),
        ({"kind": "MultiBinary", "n": [0]}, "must have a shape of ints, at least 1"),
        ({"kind": "MultiBinary", "n": [2**30]}, "may have 16777216 elements"),
        ({**MULTI, "start": 0}, r"start must be of shape \[2\]"),
        ({**MULTI, "nvec": [2, 0]}, "must have at least one value"),
        ({**MULTI, "nvec": [2, [3]]}, "nvec must hold int64 numbers"),
        ({**MULTI, "nvec": [], "start": []}, "must have elements"),
        ({**MULTI, "dtype": "int8", "nvec": [2, 200]}, "nvec must hold int8 numbers"),
    ],
)
def test_what_it_does_not_say_is_refused(space, match):
    with pytest.raises(LoadError, match=match):
        check(space)


def test_many_spaces_together_may_be_too_large():
    megapixels = {**BOX, "shape": [2**23]}
    check({"kind": "Tuple", "spaces": [megapixels]})
    with pytest.raises(LoadError, match="the spaces may have 16777216 elements; received 16777217"):
        check({"kind": "Tuple", "spaces": [megapixels, megapixels]})


def test_deep_nests_are_refused():
    space = DISCRETE
    for _ in range(32):
        space = {"kind": "Tuple", "spaces": [space]}
    check(space)
    with pytest.raises(LoadError, match="must hold spaces, in up to 32 levels"):
        check({"kind": "Tuple", "spaces": [space]})


def test_nested_actions_are_refused():
    with pytest.raises(LoadError, match="^action_space must be a space of a kind"):
        check(BOX, {"kind": "Tuple", "spaces": [DISCRETE]})


@pytest.mark.parametrize("config", [None, [], {"observation_space": BOX}, {"a": 1}])
def test_both_spaces_are_needed(config):
    with pytest.raises(LoadError, match="the spaces must be a dict with action_space, observation"):
        check_spec_config(config)
