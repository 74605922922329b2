"""Policies with a memory: acting, resetting, evaluating, and exporting them."""

import json

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from recurrent_agent import UNITS, RecurrentAgent

import kerasrl
from kerasrl.errors import AgentStateError, ArgumentError, LoadError
from kerasrl.policies import Policy, PolicyStep, RestoredPolicy

FORMATS = kerasrl.policies.EXPORT_FORMATS


@pytest.fixture
def agent():
    agent = RecurrentAgent()
    agent.build("CartPole-v1")
    return agent


@pytest.fixture
def observations():
    return np.random.default_rng(0).standard_normal((6, 2, 4)).astype(np.float32)


def _pairs(one, other):
    return zip(one, other, strict=True)


def by_hand(agent, observations, begins=()):
    """The agent's greedy actions, step by step; at times in `begins` environment 1 begins anew."""
    state, actions = agent.begin(2), []
    for time, observation in enumerate(observations):
        if time in begins:
            state = tuple(tf.stack([old[0], new[1]]) for old, new in _pairs(state, agent.begin(2)))
        action, state = agent.call(observation, state)
        actions.append(action.numpy())
    return np.array(actions), [leaf.numpy() for leaf in state]


def test_a_policy_remembers(agent, observations):
    policy = agent.make_policy("CartPole-v1", num_envs=2)
    acted = [policy([observation]) for observation in observations]
    actions, _ = by_hand(agent, observations)
    np.testing.assert_array_equal([each.action for each in acted], actions)
    np.testing.assert_array_equal(acted[0].state, agent.begin(2))


def test_a_policy_begins_anew_where_it_is_told(agent, observations):
    policy = agent.make_policy("CartPole-v1", num_envs=2)
    actions = []
    for time, observation in enumerate(observations):
        if time in (2, 5):
            policy.reset(np.array([False, True]))
        actions.append(policy([observation]).action)
    np.testing.assert_array_equal(actions, by_hand(agent, observations, begins=(2, 5))[0])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.table
def test_an_exported_policy_is_given_its_state(agent, observations, tmp_path, format):
    agent.export_policy(tmp_path / "policy", format)
    exported = kerasrl.load_policy(tmp_path / "policy")
    state, actions = exported.initial_state(2), []
    for observation in observations:
        action, state = exported.act(observation, state)
        actions.append(action)
    expected, following = by_hand(agent, observations)
    np.testing.assert_array_equal(actions, expected)
    np.testing.assert_allclose(list(state.values()), following, atol=1e-6)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.table
def test_an_exported_policy_is_worth_what_the_agent_is(agent, tmp_path, format):
    agent.export_policy(tmp_path / "policy", format)
    exported = kerasrl.load_policy(tmp_path / "policy")
    arguments = {"episodes": 4, "num_envs": 2, "seed": 0}
    assert kerasrl.evaluate("CartPole-v1", exported, **arguments) == kerasrl.evaluate(
        "CartPole-v1", agent, **arguments
    )


def test_a_restored_policy_begins_anew_where_it_is_told(agent, observations, tmp_path):
    agent.export_policy(tmp_path / "policy")
    policy = RestoredPolicy(kerasrl.load_policy(tmp_path / "policy"), 2)
    actions = []
    for time, observation in enumerate(observations):
        if time == 3:
            policy.reset(np.array([False, True]))
        actions.append(policy([observation]).action)
    np.testing.assert_array_equal(actions, by_hand(agent, observations, begins=(3,))[0])


def test_a_state_that_is_not_the_policys_is_refused(agent, observations, tmp_path):
    agent.export_policy(tmp_path / "policy")
    exported = kerasrl.load_policy(tmp_path / "policy")
    for state in (None, {}, exported.initial_state(3), {"state_0": np.zeros((2, UNITS))}):
        with pytest.raises(ArgumentError, match=r"Pass initial_state\(2\) where episodes begin"):
            exported.act(observations[0], state)


def test_a_policy_without_a_state_takes_none(observations, tmp_path):
    agent = kerasrl.DQN()
    agent.build("CartPole-v1")
    agent.export_policy(tmp_path / "policy")
    exported = kerasrl.load_policy(tmp_path / "policy")
    assert exported.initial_state(2) == {}
    assert exported.act(observations[0]).shape == (2,)
    with pytest.raises(ArgumentError, match="state must be the recurrent state of the policy"):
        exported.act(observations[0], {"state_0": np.zeros((2, UNITS), np.float32)})


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": 1},
        {"state": [1]},
        {"state": [{"dtype": "object", "shape": [1], "initial": [0]}]},
        {"state": [{"dtype": "float32", "shape": [2], "initial": [0]}]},
        {"state": [{"dtype": "float32", "shape": [-1], "initial": [0]}]},
        {"state": [{"dtype": "int8", "shape": [1], "initial": [1000]}]},
        {"state": [{"dtype": "float32", "shape": [1], "initial": ["0"]}]},
        {"state": []},
    ],
)
@pytest.mark.table
def test_a_strangers_state_is_checked(agent, tmp_path, wrong):
    agent.export_policy(tmp_path / "policy")
    path = tmp_path / "policy" / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(LoadError):
        kerasrl.load_policy(tmp_path / "policy")


class Searching(kerasrl.DQN):
    """Acts by a policy of its own."""

    def make_policy(self, spec, num_envs=1, rng=None):
        class Always(Policy):
            def __call__(self, observation):
                return PolicyStep(np.ones(len(observation[0]), np.int64))

        return Always()


def test_a_search_acts_and_is_not_exported(tmp_path):
    agent = Searching()
    agent.build("CartPole-v1")
    result = kerasrl.evaluate("CartPole-v1", agent, episodes=2)
    assert result["episode_return"] < 15
    with pytest.raises(AgentStateError, match="acts by the policy that its own make_policy"):
        agent.export_policy(tmp_path / "policy")


def test_a_memory_is_learned_with(tmp_path):
    agent = RecurrentAgent()
    agent.compile("adam", steps_per_execution=2)
    collect = kerasrl.callbacks.Collect(env_steps_per_update=2, warmup_steps=100)
    history = agent.fit(
        lambda: gym.make("CartPole-v1"), steps_per_epoch=4, callbacks=[collect], verbose=0, seed=0
    )
    assert np.isfinite(history.history["loss"]).all()
    agent.save(tmp_path / "agent")
    loaded = kerasrl.load(tmp_path / "agent", custom_objects={"RecurrentAgent": RecurrentAgent})
    arguments = {"episodes": 3, "seed": 0}
    assert kerasrl.evaluate("CartPole-v1", loaded, **arguments) == kerasrl.evaluate(
        "CartPole-v1", agent, **arguments
    )


class Normalizing(RecurrentAgent):
    """Its memory is fed what was normalised."""

    def build_networks(self):
        self.normalizer = kerasrl.networks.ObservationNormalization()
        super().build_networks()

    def policy(self, observation, state):
        return super().policy(self.normalizer(observation), state)


def test_a_memory_is_fed_what_is_normalised():
    agent = Normalizing()
    agent.compile("adam")
    collect = kerasrl.callbacks.Collect(env_steps_per_update=2, warmup_steps=100)
    agent.fit("CartPole-v1", steps_per_epoch=4, callbacks=[collect], verbose=0, seed=0)
    assert (agent.normalizer.means[0].numpy() != 0).all()
