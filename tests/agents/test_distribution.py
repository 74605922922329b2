"""`agent.distribution(observation)`, for every agent whose policy is one."""

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import kerasrl
from kerasrl.envs import EnvSpec

OBSERVATIONS = gym.spaces.Box(-1, 1, (3,))
SPACES = {
    "discrete": gym.spaces.Discrete(4, start=-1),
    "multi-discrete": gym.spaces.MultiDiscrete([2, 3]),
    "multi-binary": gym.spaces.MultiBinary(3),
    "box": gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 5])),
}
AGENTS = [
    *[
        (agent, space)
        for agent in (kerasrl.A2C, kerasrl.PPO, kerasrl.REINFORCE)
        for space in SPACES
    ],
    (kerasrl.SAC, "box"),
]


@pytest.fixture(params=AGENTS, ids=lambda pair: f"{pair[0].__name__}-{pair[1]}")
def agent(request):
    kind, space = request.param
    agent = kind()
    agent.build(EnvSpec(OBSERVATIONS, SPACES[space]))
    return agent


@pytest.fixture
def observation():
    return np.random.default_rng(0).uniform(-1, 1, (5, 3)).astype(np.float32)


@pytest.mark.table
def test_it_is_one_of_tensorflow_probability(agent, observation):
    distribution = agent.distribution(observation)
    assert isinstance(distribution, tfp.distributions.Distribution)
    assert distribution.batch_shape == (5,)
    assert distribution.event_shape == agent.action_space.shape


@pytest.mark.table
def test_its_mode_is_the_greedy_action(agent, observation):
    mode = agent.distribution(observation).mode()
    np.testing.assert_allclose(mode, agent(observation), rtol=1e-6, atol=1e-6)


@pytest.mark.table
def test_what_it_draws_has_a_probability(agent, observation):
    distribution = agent.distribution(observation)
    drawn = distribution.sample(7, seed=1)
    log_prob = distribution.log_prob(drawn)
    assert drawn.shape == (7, 5, *agent.action_space.shape)
    assert drawn.dtype == agent.action_space.dtype
    assert log_prob.shape == (7, 5) and np.isfinite(log_prob).all()


@pytest.mark.table
def test_its_entropy_is_minus_the_mean_log_probability(agent, observation):
    distribution = agent.distribution(observation)
    log_prob = distribution.log_prob(distribution.sample(20_000, seed=2)).numpy().astype(float)
    estimate, error = -np.mean(log_prob, 0), np.std(log_prob, 0) / np.sqrt(20_000)
    assert (np.abs(distribution.entropy() - estimate) <= 5 * error + 1e-5).all()


def test_its_divergence_from_itself_is_0(agent, observation):
    distribution, other = agent.distribution(observation), agent.distribution(-observation)
    kl_divergence = tfp.distributions.kl_divergence
    np.testing.assert_allclose(kl_divergence(distribution, distribution), 0, atol=1e-6)
    assert (distribution.kl_divergence(other).numpy() >= -1e-6).all()


@pytest.mark.table
def test_it_has_gradients(agent, observation):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(agent.distribution(observation).entropy())
    gradients = tape.gradient(loss, agent.actor.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("kind", [kerasrl.DQN, kerasrl.DDPG, kerasrl.TD3, kerasrl.D4PG])
def test_agents_without_one_say_so(kind):
    with pytest.raises(NotImplementedError, match=f"{kind.__name__} learns no distribution"):
        kind().distribution(np.zeros((1, 3)))
