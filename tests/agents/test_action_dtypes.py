"""Every agent acts in the dtype of its space, wherever it acts."""

import gymnasium as gym
import keras
import numpy as np
import pytest
from doubles import collector_of

import kerasrl
from kerasrl.callbacks import Collect, CollectRollouts

spaces = gym.spaces
CASES = [
    ("dqn", spaces.Discrete(3, dtype=np.int32)),
    ("dqn", spaces.Discrete(3, start=1, dtype=np.uint8)),
    ("dqn", spaces.Discrete(3, start=-1, dtype=np.int16)),
    ("a2c", spaces.MultiDiscrete([2, 3], dtype=np.int32)),
    ("reinforce", spaces.MultiDiscrete([2, 3], dtype=np.uint8)),
    ("ppo", spaces.MultiBinary(2)),
    ("ppo", spaces.Box(-1, 1, (2,), np.float16)),
    ("a2c", spaces.Box(-0.1, 0.1, (), np.float64)),
    ("td3", spaces.Box(-0.1, 0.1, (), np.float64)),
    ("sac", spaces.Box(-1, 1, (2,), np.float16)),
]


@pytest.mark.regression(17)
@pytest.mark.parametrize("kind", ["dqn", "a2c"])
@pytest.mark.table
def test_they_train_in_it(tiny_env, kind):
    """The environment refuses actions that are not of its space."""
    env = tiny_env(action_space=spaces.Discrete(3, dtype=np.int32))
    agent = getattr(kerasrl, kind.upper())()
    agent.compile(run_eagerly=True)
    arguments = {"batch_size": 8} if kind == "dqn" else {}
    agent.fit(env, steps_per_epoch=1, callbacks=[collector_of(agent)], verbose=0, **arguments)
    assert agent.evaluate(env, episodes=1, verbose=0)[0] == 5.0


@pytest.mark.regression(17)
@pytest.mark.parametrize(("kind", "space"), CASES, ids=str)
@pytest.mark.table
def test_actions_are_of_the_space(tiny_env, kind, space):
    agent = getattr(kerasrl, kind.upper())()
    agent.build(tiny_env(action_space=space))
    observation = np.zeros((3, 4), np.float32)
    for actions in (agent(observation).numpy(), agent.predict(observation, verbose=0)):
        assert actions.dtype == space.dtype and actions.shape == (3, *space.shape)
        for action in actions:
            assert space.contains(action if np.isscalar(space.sample()) else np.asarray(action))
    explored = agent.explore(np.asarray(agent.policy(observation)), np.random.default_rng(0))
    assert explored.dtype == space.dtype and explored.shape == (3, *space.shape)


@pytest.mark.regression(17)
@pytest.mark.parametrize("format", kerasrl.policies.EXPORT_FORMATS)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
@pytest.mark.table
def test_exported_policies_act_in_it(tiny_env, tmp_path, format, dtype):
    env = tiny_env(action_space=spaces.Discrete(3, dtype=dtype))
    agent = kerasrl.DQN(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    agent.build(env)
    agent.export_policy(tmp_path / "policy", format)
    policy = kerasrl.load_policy(tmp_path / "policy")
    assert policy.act(np.zeros((2, 4), np.float32)).dtype == dtype
    assert kerasrl.evaluate(env, policy, episodes=1)["episode_return"] == 5.0


@pytest.mark.regression(36)
@pytest.mark.parametrize("kind", ["sac", "ddpg", "td3", "d4pg", "ppo", "dqn", "a2c", "reinforce"])
@pytest.mark.table
def test_a_policy_that_is_nan_is_blamed_itself(make_agent, tiny_env, kind):
    agent = make_agent(kind)
    env = tiny_env(action_space=agent.action_space)
    env.render_mode = "rgb_array"
    env.render = lambda: np.zeros((8, 8, 3), np.uint8)
    network = agent.q_network if kind == "dqn" else agent.actor
    network.set_weights([np.full_like(w, np.nan) for w in network.get_weights()])
    rule = "weights that this policy acts with are NaN"
    for use in (
        lambda: agent.evaluate(env, verbose=0),
        lambda: agent.fit(env, callbacks=[collector_of(agent)], verbose=0),
        lambda: agent.film(env, "film.mp4"),
    ):
        with pytest.raises(kerasrl.errors.NonFiniteLoss, match=rule):
            use()
    assert not env.actions


@pytest.mark.regression(36)
@pytest.mark.parametrize(
    ("action", "error", "rule"),
    [
        ([[np.nan, 0.0]], kerasrl.errors.NonFiniteLoss, "It comes from the policy"),
        ([[0.0]], kerasrl.errors.ArgumentError, r"of shape \(1, 2\).*received \(1, 1\)"),
        ([[0.0, 0.0, 0.0]], kerasrl.errors.ArgumentError, r"received \(1, 3\)"),
    ],
)
@pytest.mark.parametrize("kind", ["sac", "ppo"])
@pytest.mark.table
def test_so_is_what_a_user_explores_with(make_agent, tiny_env, kind, action, error, rule):
    base = Collect if kind == "sac" else CollectRollouts

    class Own(base):
        def act(self, observation):
            super().act(observation)
            return np.array(action, np.float32)

    env = tiny_env(action_space=spaces.Box(-1, 1, (2,), np.float32))
    agent = getattr(kerasrl, kind.upper())() if kind == "ppo" else make_agent(kind, build=False)
    agent.compile(run_eagerly=True)
    own = Own(warmup_steps=32) if kind == "sac" else Own(8)
    with pytest.raises(error, match=rule):
        agent.fit(env, steps_per_epoch=4, callbacks=[own], batch_size=8, verbose=0)
