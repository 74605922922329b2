"""Agents with priorities, with a memory, and with a search, written by docs/extending.md alone."""

import gymnasium as gym
import keras
import numpy as np
import pytest
from trial_agents.prioritized_dqn import PrioritizedDQN
from trial_agents.recurrent_dqn import RecurrentDQN
from trial_agents.search import SearchAgent

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import AgentStateError


class WithoutVelocities(gym.ObservationWrapper):
    """CartPole, of which only the cart's place and the pole's angle are observed."""

    def __init__(self):
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = gym.spaces.Box(-5.0, 5.0, (2,), np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


# The agent, its environment, the environment steps that it trains for, and Adam.
TRIALS = {
    "priorities": (PrioritizedDQN, "CartPole-v1", 10_000, {"learning_rate": 1e-3}),
    "memory": (RecurrentDQN, WithoutVelocities, 30_000, {"learning_rate": 2e-3, "clipnorm": 10.0}),
    "search": (SearchAgent, "CartPole-v1", 4_000, {"learning_rate": 1e-3}),
}


@pytest.fixture(params=TRIALS)
def trial(request):
    kind, env, env_steps, adam = TRIALS[request.param]
    agent = kind()
    agent.compile(keras.optimizers.Adam(**adam), steps_per_execution=8)
    return agent, env, env_steps


@pytest.mark.thorough
def test_it_trains_is_saved_and_loaded(trial, tmp_path):
    agent, env, _ = trial
    collect = Collect(env_steps_per_update=4, warmup_steps=200)
    history = agent.fit(env, steps_per_epoch=8, callbacks=[collect], verbose=0, seed=0)
    assert np.isfinite(history.history["loss"]).all()
    agent.save(tmp_path / "agent")
    loaded = kerasrl.load(tmp_path / "agent", custom_objects={type(agent).__name__: type(agent)})
    for one, other in zip(loaded.get_weights(), agent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    arguments = {"episodes": 2, "seed": 0}
    assert kerasrl.evaluate(env, loaded, **arguments) == kerasrl.evaluate(env, agent, **arguments)


@pytest.mark.parametrize("format", kerasrl.policies.EXPORT_FORMATS)
@pytest.mark.table
def test_it_is_exported_or_says_why_not(trial, tmp_path, format):
    agent, env, _ = trial
    agent.build(env)
    if isinstance(agent, SearchAgent):
        with pytest.raises(AgentStateError, match="no function of its networks"):
            agent.export_policy(tmp_path / "policy", format)
        return
    agent.export_policy(tmp_path / "policy", format)
    exported = kerasrl.load_policy(tmp_path / "policy")
    arguments = {"episodes": 2, "seed": 0}
    assert kerasrl.evaluate(env, exported, **arguments) == kerasrl.evaluate(env, agent, **arguments)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_becomes_much_better_than_random(trial):
    agent, env, env_steps = trial
    agent.fit(env, env_steps=env_steps, verbose=0, seed=None)
    random = kerasrl.evaluate(env, episodes=20)["episode_return"]
    trained = kerasrl.evaluate(env, agent, episodes=20)["episode_return"]
    assert trained > 3 * random
