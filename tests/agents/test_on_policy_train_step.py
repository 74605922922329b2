"""One step of PPO, A2C and REINFORCE against NumPy in float64, gradients by differences."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl

MODES = {"eager": {"run_eagerly": True}, "graph": {}, "xla": {"jit_compile": True}}
RATE = 0.1
DISCRETE = gym.spaces.Discrete(2, start=3)
BOX = gym.spaces.Box(-1, 1, (1,), np.float32)
COSTS = {"entropy_cost": 0.3, "value_cost": 0.7}
AGENTS = {
    "ppo": ("ppo", DISCRETE, {}),
    "ppo on a Box": ("ppo", BOX, COSTS | {"clip_range": 0.1}),
    "ppo with values clipped": ("ppo", DISCRETE, COSTS | {"clip_values": True}),
    "a2c": ("a2c", DISCRETE, COSTS),
    "a2c on a Box": ("a2c", BOX, {}),
    "reinforce": ("reinforce", BOX, {"entropy_cost": 0.3}),
    "reinforce with a baseline": ("reinforce", DISCRETE, COSTS),
}
IN_EVERY_MODE = ("ppo with values clipped", "a2c on a Box")


def network(weights, x):
    kernel1, bias1, kernel2, bias2 = weights
    return np.tanh(x @ kernel1 + bias1) @ kernel2 + bias2


def log_prob_and_entropy(space, parameters, action):
    if space is BOX:
        mean, log_std = parameters[:, 0], parameters[:, 1]
        constant = 0.5 * np.log(2 * np.pi) + log_std
        return -0.5 * ((action[:, 0] - mean) / np.exp(log_std)) ** 2 - constant, 0.5 + constant
    exponentials = np.exp(parameters)
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    chosen = probabilities[np.arange(len(action)), action.astype(int) - 3]
    return np.log(chosen), -(probabilities * np.log(probabilities)).sum(-1)


def logs_of(agent, weights, b):
    """What `train_step` has to log, from the weights of the actor and then the critic."""
    parameters = network(weights[:4], b["observation"])
    log_prob, entropy = log_prob_and_entropy(agent.action_space, parameters, b["action"])
    log_ratio = log_prob - b["log_prob"]
    ratio, clipped = np.exp(log_ratio), 0
    policy_losses = -b["advantage"] * log_prob
    if isinstance(agent, kerasrl.PPO):
        epsilon = agent.get_config()["clip_range"]
        clipped = np.clip(ratio, 1 - epsilon, 1 + epsilon)
        policy_losses = -np.minimum(ratio * b["advantage"], clipped * b["advantage"])
    value_losses = np.zeros(len(log_prob))
    if len(weights) == 8:
        v = network(weights[4:], b["observation"])[:, 0]
        value_losses = 0.5 * (v - b["return"]) ** 2
        if getattr(agent, "clip_values", False):
            near = np.clip(v, b["value"] - epsilon, b["value"] + epsilon)
            value_losses = np.maximum(value_losses, 0.5 * (near - b["return"]) ** 2)
    logs = {
        "policy_loss": (b["weight"] * policy_losses).mean(),
        "value_loss": (b["weight"] * value_losses).mean(),
        "entropy": (b["weight"] * entropy).mean(),
    }
    logs["loss"] = (
        logs["policy_loss"]
        + agent.value_cost * logs["value_loss"]
        - agent.entropy_cost * logs["entropy"]
    )
    if isinstance(agent, kerasrl.PPO):
        logs["approximate_kl"] = (b["weight"] * (ratio - 1 - log_ratio)).mean()
        logs["clip_fraction"] = (b["weight"] * (ratio != clipped)).mean()
    if isinstance(agent, kerasrl.PPO | kerasrl.A2C):
        logs["explained_variance"] = b["explained_variance"][0]
    return logs


def gradient(agent, weights, b, h=1e-5):
    """The gradient of the loss by central differences."""
    gradients = [np.zeros_like(w) for w in weights]
    for w, g in zip(weights, gradients, strict=True):
        for index in np.ndindex(w.shape):
            value, losses = w[index], []
            for w[index] in (value + h, value - h):
                losses.append(logs_of(agent, weights, b)["loss"])
            w[index] = value
            g[index] = (losses[0] - losses[1]) / (2 * h)
    return gradients


@pytest.mark.parametrize(
    ("name", "mode"),
    [(n, m) for n in AGENTS for m in MODES if m == "eager" or n in IN_EVERY_MODE],
)
@pytest.mark.table
def test_train_step_equals_a_numpy_twin(make_agent, examples, name, mode):
    kind, space, arguments = AGENTS[name]
    if "baseline" in name:
        arguments = arguments | {"critic": make_agent("a2c", build=False).critic}
    agent = make_agent(kind, MODES[mode], build=False, **arguments)
    agent.build(kerasrl.envs.EnvSpec(gym.spaces.Box(-9, 9, (4,), np.float32), space))
    batch = examples(agent, count=32)
    networks = [agent.actor] if agent.critic is None else [agent.actor, agent.critic]
    weights = [np.array(w, np.float64) for net in networks for w in net.get_weights()]
    parameters = network(weights[:4], batch["observation"])
    log_prob, _ = log_prob_and_entropy(space, parameters, batch["action"])
    batch["log_prob"] = np.float32(log_prob + np.random.default_rng(0).normal(0, 0.2, 32))
    b = {key: np.float64(leaf) for key, leaf in batch.items()}
    expected = logs_of(agent, weights, b)
    gradients = gradient(agent, weights, b)
    if kind == "ppo":  # The batch has to make all of it matter.
        assert 0.1 < expected["clip_fraction"] < 0.9

    dataset = tf.data.Dataset.from_tensor_slices(batch).batch(32)
    history = keras.Model.fit(agent, dataset, verbose=0).history  # `Agent.fit` takes no datasets.

    assert set(history) == set(expected) == set(agent.log_names)
    for key, value in expected.items():
        np.testing.assert_allclose(history[key], [value], rtol=1e-4, atol=1e-6, err_msg=key)
    updated = [w for net in networks for w in net.get_weights()]
    for before, slope, after in zip(weights, gradients, updated, strict=True):
        assert (slope != 0).any()
        np.testing.assert_allclose(after, before - RATE * slope, atol=1e-5)
    assert int(agent.optimizer.iterations) == 1


@pytest.mark.regression(32)
@pytest.mark.parametrize("sign", [-1, 1])
def test_ppo_survives_ratios_beyond_floats(make_agent, examples, sign):
    # As by default, gradients are clipped by their norm, for which they are squared.
    optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=0.5)
    agent = make_agent("ppo", {"optimizer": optimizer, "run_eagerly": True})
    batch = examples(agent)
    far = {"log_prob": np.full(8, -500, np.float32), "advantage": np.full(8, sign, np.float32)}
    logs = agent.train_step(tf.nest.map_structure(tf.constant, batch | far))
    assert all(np.isfinite(value) for value in logs.values())
    assert all(np.isfinite(weight).all() for weight in agent.get_weights())
