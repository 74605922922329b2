import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import kerasrl
from kerasrl import envs
from kerasrl.errors import ArgumentError, NonFiniteLoss
from kerasrl.policies import random_actions

spaces = gym.spaces
SPACES = [
    spaces.Discrete(3, start=1),
    spaces.Discrete(3, dtype=np.int32),
    spaces.Discrete(3, dtype=np.uint8),
    spaces.MultiDiscrete([2, 3], dtype=np.int32),
    spaces.MultiBinary(3),
    spaces.Box(-1, 1, (), np.float32),
    spaces.Box(-1, 1, (2,), np.float64),
    spaces.Box(0, 5, (2,), np.int16),
]


def taken(tiny_env, space, action):
    """What an environment is given for the actions of a policy, and what a vector is."""
    env = tiny_env(action_space=space)
    given = []
    inner = env.step
    env.step = lambda action: given.append(action) or inner(action)
    environments = envs.make(env)
    environments.reset()
    environments.step(action)
    vector = SyncVectorEnv([lambda: tiny_env(action_space=space)])
    environments = envs.make(vector)
    environments.reset()
    environments.step(action)
    return given[0]


@pytest.mark.regression(17)
@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("cast", [np.int64, np.int32, np.float32, np.float64, "list"])
def test_an_environment_is_given_actions_of_its_space(tiny_env, space, cast):
    actions = random_actions(space, 1, np.random.default_rng(0))
    if cast == "list":
        actions = actions.tolist()
    elif space.dtype.kind != "f" or np.dtype(cast).kind == "f":
        actions = actions.astype(cast)
    action = taken(tiny_env, space, actions)
    sample = space.sample()
    assert type(action) is type(sample) and action.dtype == space.dtype
    assert action.shape == sample.shape and space.contains(action)


@pytest.mark.parametrize(
    ("space", "action", "rule"),
    [
        (spaces.Discrete(3), [[1]], r"of shape \(1,\), one for each .*; received \(1, 1\)"),
        (spaces.Discrete(3), 1, r"of shape \(1,\), one for each .*; received \(\)"),
        (spaces.Box(-1, 1, (2,)), [[0.0]], r"of shape \(1, 2\), one .*; received \(1, 1\)"),
        (spaces.Box(-1, 1, (2,)), [0.0, 0.0], r"of shape \(1, 2\), one .*; received \(2,\)"),
        (spaces.Discrete(3), [0.5], r"actions of int64, .*; received \[0.5\] of float64"),
        (spaces.Discrete(3), ["1"], r"actions of int64, .*; received \['1'\] of <U1"),
        (spaces.Discrete(3), [None], r"actions of int64, .*; received \[None\] of object"),
        (spaces.Discrete(9, dtype=np.int8), [300], r"actions of int8, .*; received \[300\]"),
        (spaces.Box(-1, 1, (1,)), [[1j]], r"actions of float32, .* of complex128"),
    ],
)
@pytest.mark.regression(36)
def test_what_is_no_action_is_refused_in_a_sentence(tiny_env, space, action, rule):
    env = tiny_env(action_space=space)
    with pytest.raises(ArgumentError, match=f"^the policy must give .*{rule}"):
        kerasrl.evaluate(env, lambda observation: action)
    assert not env.actions


@pytest.mark.regression(36)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("space", [spaces.Box(-1, 1, (2,)), spaces.Discrete(2)])
def test_an_action_that_is_not_finite_is_the_policys(tiny_env, space, value):
    env = tiny_env(action_space=space)
    environments = envs.make(lambda: env if not env.seeds else tiny_env(action_space=space), 1)
    action = np.full((1, *space.shape), value, np.float32)
    rule = "^the action for environment 0, step 1 of its episode, is .*It comes from the policy"
    with pytest.raises(NonFiniteLoss, match=rule):
        kerasrl.evaluate(environments, lambda observation: action)
    assert not env.actions


def test_it_may_be_let_through(tiny_env):
    env = tiny_env(action_space=spaces.Box(-np.inf, np.inf, (1,)))
    env.step = lambda action: (env.observation_space.sample(), 0.0, False, False, {})
    environments = envs.make(env, faults=envs.FaultPolicy(nan_policy="warn"))
    environments.reset()
    with pytest.warns(UserWarning, match="It comes from the policy") as record:
        for _ in range(2):
            environments.step(np.float32([[np.nan]]))
    assert len(record) == 1


def test_actions_of_the_right_dtype_are_taken_as_they_are():
    reader = envs.actions.ActionReader(spaces.Box(-1, 1, (2,)), 3)
    action = np.zeros((3, 2), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reader.read(action) is action
