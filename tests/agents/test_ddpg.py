import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl

RATE = 0.1
SPACE = gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))
SCALE, OFFSET = [2, 0.5], [0, 0.5]
# Two observations and their successors, of tf_agents' ddpg_agent_test.py.
REFERENCE = {
    "observation": np.float32([[1, 2], [3, 4]]),
    "action": np.float32([[5], [6]]),
    "reward": np.float32([10, 20]),
    "discount": np.ones(2, np.float32),
    "next_observation": np.float32([[5, 6], [7, 8]]),
}


def step(agent):
    """A step on the reference's batch, whose actions are beyond the bounds of the space."""
    return agent.train_step(tf.nest.map_structure(tf.constant, REFERENCE))


def sgd(rate):
    return keras.optimizers.SGD(rate)


def reference_agent(tiny_env, actor_rate, critic_rate):
    """An actor 2 x + y + 5 and a critic x + 3 y + 2 a + 4."""
    actor = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    inputs = [keras.Input((2,)), keras.Input((1,))]
    value = keras.layers.Dense(1)(keras.layers.Concatenate()(inputs))
    actor.set_weights([np.float32([[2], [1]]), np.float32([5])])
    critic = keras.Model(inputs, value)
    critic.set_weights([np.float32([[1], [3], [2]]), np.float32([4])])
    agent = kerasrl.DDPG(actor, critic, discount=0.9)
    box = gym.spaces.Box(-1, 1, (2,), np.float32)
    agent.build(tiny_env(box, gym.spaces.Box(-1, 1, (1,), np.float32)))
    agent.compile(sgd(actor_rate), sgd(critic_rate), run_eagerly=True)
    return agent


def test_the_critic_matches_tf_agents(tiny_env):
    agent = reference_agent(tiny_env, 0.0, 0.1)
    loss = step(agent)["critic_loss"]
    # Next actions of 21 and 27, worth 69 and 89; these actions are worth 21 and 31.
    errors = np.float32([10 + 0.9 * 69 - 21, 20 + 0.9 * 89 - 31])
    np.testing.assert_allclose(kerasrl.losses.huber(errors).numpy().mean(), 59.6, rtol=1e-6)
    np.testing.assert_allclose(loss, (errors**2).mean() / 2, rtol=1e-6)
    inputs = np.float32([[1, 2, 5], [3, 4, 6]])
    kernel, bias = agent.critic.get_weights()
    gradient = -(errors[:, None] * inputs).mean(0)
    np.testing.assert_allclose(kernel[:, 0], [1, 3, 2] - 0.1 * gradient, rtol=1e-5)
    np.testing.assert_allclose(bias, 4 + 0.1 * errors.mean(), rtol=1e-5)


def test_the_actor_matches_tf_agents(tiny_env):
    agent = reference_agent(tiny_env, 0.1, 0.0)
    loss = step(agent)["actor_loss"]
    # Actions of 9 and 15, whose gradient is 2: its square is what tf_agents calls the loss, 4.
    np.testing.assert_allclose(loss, -(29 + 49) / 2)
    kernel, bias = agent.actor.get_weights()
    np.testing.assert_allclose(kernel, [[2 + 0.1 * 2 * 2], [1 + 0.1 * 2 * 3]], rtol=1e-6)
    np.testing.assert_allclose(bias, [5 + 0.1 * 2], rtol=1e-6)


def doubles(weights):
    return [np.asarray(w, np.float64) for w in weights]


def linear(weights, x):
    kernel, bias = weights
    return x @ kernel + bias


def critic(weights, observation, action):
    """Values [B, 1], and the hidden layer."""
    hidden = np.tanh(linear(weights[:2], np.concatenate([observation, action], -1)))
    return linear(weights[2:], hidden), hidden


def unit(action):
    return (action - OFFSET) / SCALE


def small_agent(tiny_env, **arguments):
    """A linear actor, and a critic with a hidden layer of 5."""
    keras.utils.set_random_seed(0)
    actor = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    inputs = [keras.Input((3,)), keras.Input((2,))]
    hidden = keras.layers.Dense(5, "tanh")(keras.layers.Concatenate()(inputs))
    agent = kerasrl.DDPG(actor, keras.Model(inputs, keras.layers.Dense(1)(hidden)), **arguments)
    agent.build(tiny_env(gym.spaces.Box(-1, 1, (3,), np.float32), SPACE))
    agent.compile(sgd(RATE), sgd(RATE), run_eagerly=True)
    rng = np.random.default_rng(1)
    for network in (agent.actor, agent.critic, *(target.network for target in agent.targets)):
        network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    return agent


@pytest.mark.parametrize("clip", [None, 0.5], ids=["unclipped", "clipped"])
@pytest.mark.table
def test_train_step_equals_a_numpy_twin(tiny_env, batches, clip):
    agent = small_agent(tiny_env, discount=0.9, dqda_clipping=clip)
    data = batches(agent, batch_size=16)
    b = {key: np.float64(value) for key, value in next(iter(data)).items()}
    before = doubles(agent.critic.get_weights())
    actor = doubles(agent.actor.get_weights())
    target_actor, target_critic = (
        target.network.get_weights() for target in (agent.target_actor, agent.target_critic)
    )

    logs = {name: value for name, (value,) in agent.fit(data, verbose=0).history.items()}

    action_t = unit(linear(target_actor, b["next_observation"]))
    q_t, _ = critic(target_critic, b["next_observation"], action_t)
    target = b["reward"] + 0.9 * b["discount"] * q_t[:, 0]
    q_tm1, hidden = critic(before, b["observation"], unit(b["action"]))
    error = target - q_tm1[:, 0]
    np.testing.assert_allclose(logs["critic_loss"], (error**2).mean() / 2, rtol=1e-4)
    np.testing.assert_allclose(logs["q_value"], q_tm1.mean(), rtol=1e-4)
    inputs = np.concatenate([b["observation"], unit(b["action"])], -1)
    of_value = -error[:, None] / 16
    of_hidden = of_value @ before[2].T * (1 - hidden**2)
    gradients = [inputs.T @ of_hidden, of_hidden.sum(0), hidden.T @ of_value, of_value.sum(0)]
    updated = doubles(agent.critic.get_weights())
    for new, old, gradient in zip(updated, before, gradients, strict=True):
        np.testing.assert_allclose(new, old - RATE * gradient, atol=1e-5)

    # The actor is trained against the critic as it is after its own step.
    q, hidden = critic(updated, b["observation"], unit(linear(actor, b["observation"])))
    np.testing.assert_allclose(logs["actor_loss"], -q.mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], logs["critic_loss"] + logs["actor_loss"], rtol=1e-5)
    dqda = (1 - hidden**2) * updated[2].T @ updated[0][3:].T
    if clip:
        norm = np.linalg.norm(dqda, axis=-1, keepdims=True)
        assert (norm > clip).any() and (norm < clip).any()
        dqda *= np.minimum(1, clip / norm)
    of_action = -dqda / SCALE / 16
    gradients = [b["observation"].T @ of_action, of_action.sum(0)]
    for new, old, gradient in zip(agent.actor.get_weights(), actor, gradients, strict=True):
        np.testing.assert_allclose(new, old - RATE * gradient, atol=1e-5)


def test_both_targets_move_after_the_step(tiny_env, batches):
    agent = small_agent(tiny_env)
    pairs = [(agent.actor, agent.target_actor), (agent.critic, agent.target_critic)]
    before = [target.network.get_weights() for _, target in pairs]
    update = kerasrl.callbacks.TargetUpdate(step_size=0.25)
    agent.fit(batches(agent), callbacks=[update], verbose=0)
    for (source, target), old in zip(pairs, before, strict=True):
        weights = zip(target.network.get_weights(), old, source.get_weights(), strict=True)
        for new, was, online in weights:
            np.testing.assert_allclose(new, was + 0.25 * (online - was), atol=1e-6)
