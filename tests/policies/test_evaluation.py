import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl import envs
from kerasrl.errors import ArgumentError, ArgumentTypeError, SpaceError
from kerasrl.testing import CountingEnv


def act(observation):
    return np.zeros(len(observation[0]), int)


def test_the_figures_are_those_of_the_episodes():
    results = kerasrl.evaluate(CountingEnv((1, 2, 3)), act, episodes=3)
    # Returns 1, 3 and 6: mean 10 / 3, mean square 46 / 3.
    expected = {
        "episode_return": 10 / 3,
        "episode_return_std": (46 / 3 - 100 / 9) ** 0.5,
        "episode_length": 2.0,
    }
    assert list(results) == list(expected)
    assert all(type(value) is float for value in results.values())
    np.testing.assert_allclose(list(results.values()), list(expected.values()), rtol=1e-12)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("lengths", [(1, 50), (50, 1)])
def test_short_episodes_do_not_count_for_more(mode, lengths):
    """The first four to finish would all be of length 1."""
    env = SyncVectorEnv(
        [lambda length=length: CountingEnv((length,)) for length in lengths], autoreset_mode=mode
    )
    returns = [1, 1, 1275, 1275]  # 1 + ... + 50 = 1275; each environment has a share of two.
    results = kerasrl.evaluate(env, act, episodes=4)
    assert results["episode_length"] == (1 + 1 + 50 + 50) / 4
    assert results["episode_return"] == sum(returns) / 4 == 638
    assert results["episode_return_std"] == 637


def test_an_odd_episode_is_the_first_environments():
    left = [CountingEnv((1,)), CountingEnv((50,))]
    results = kerasrl.evaluate(lambda: left.pop(0), act, episodes=3, num_envs=2)
    assert results["episode_length"] == (1 + 1 + 50) / 3


def test_no_policy_is_the_random_one():
    env = CountingEnv((100,))
    kerasrl.evaluate(env, episodes=2, seed=0)
    assert 70 < np.sum(env.actions) < 130  # Of 200 coin tosses: within 4 standard deviations.
    again = CountingEnv((100,))
    kerasrl.evaluate(again, episodes=2, seed=0)
    assert again.actions == env.actions
    assert again.seeds[0] == 0


def test_an_agent_acts_greedily(make_agent, tiny_env):
    class Remembering(tiny_env):
        def step(self, action):
            result = super().step(action)
            seen.append(result[0])
            return result

    agent, env, seen = make_agent("dqn"), Remembering(length=50), []
    kerasrl.evaluate(env, agent, episodes=1, seed=0)
    greedy = agent(np.array(seen)).numpy()
    assert set(greedy) == {0, 1}
    assert env.actions[1:] == greedy[:-1].tolist()


def test_it_is_what_the_agents_own_evaluate_gives(make_agent, tiny_env):
    agent = make_agent("dqn")
    own = agent.evaluate(tiny_env, episodes=3, num_envs=2, verbose=0, return_dict=True)
    assert kerasrl.evaluate(tiny_env, agent, episodes=3, num_envs=2) == own


def test_an_agent_that_is_not_built_is_built(make_agent, tiny_env):
    agent = make_agent("dqn", build=False)
    kerasrl.evaluate(tiny_env(), agent, episodes=1)
    assert agent.built
    with pytest.raises(SpaceError, match="this agent was built for"):
        kerasrl.evaluate(CountingEnv(), agent)


def test_what_it_makes_it_closes(tiny_env):
    made = []

    def factory():
        made.append(tiny_env())
        return made[-1]

    given = tiny_env()
    kerasrl.evaluate(factory, episodes=2, num_envs=2)
    kerasrl.evaluate(given, episodes=1)
    assert [env.closed for env in [*made, given]] == [True, True, False]


def test_every_episode_is_told_of():
    told = []
    kerasrl.evaluate(CountingEnv((1, 2)), act, episodes=2, on_episode=told.append)
    assert told == [envs.Episode(0, 1.0, 1), envs.Episode(0, 3.0, 2)]


@pytest.mark.parametrize("episodes", [0, -1, 1.5, True])
def test_no_episodes_are_refused(tiny_env, episodes):
    with pytest.raises(ArgumentError, match="episodes must be a positive int"):
        kerasrl.evaluate(tiny_env(), episodes=episodes)


def test_what_is_no_policy_is_refused(make_agent, tiny_env):
    network = make_agent("dqn").q_network
    for policy in ("random", kerasrl.policies.RandomPolicy, network, 3):
        with pytest.raises(
            ArgumentTypeError, match="policy must be an agent, a Policy, a callable"
        ):
            kerasrl.evaluate(tiny_env(), policy)
