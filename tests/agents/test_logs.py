"""What is logged besides losses and returns, with numbers from plain NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasrl.agents import on_policy
from kerasrl.callbacks import Collect, CollectRollouts
from kerasrl.compatibility import KERAS_3

pytestmark = pytest.mark.regression(41)


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits an agent for two epochs of two steps; returns it and its history."""

    def run(kind, *callbacks, **arguments):
        agent = make_agent(kind, {"run_eagerly": True}, **arguments)
        collect = CollectRollouts(8) if kind in ("ppo", "a2c") else Collect(4, warmup_steps=32)
        history = agent.fit(
            tiny_env(action_space=agent.action_space),
            epochs=2,
            steps_per_epoch=2,
            batch_size=8,
            callbacks=[*callbacks, collect],
            verbose=0,
        )
        return agent, history.history

    return run


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("dqn", ["learning_rate"]),
        ("ppo", ["learning_rate"]),
        ("a2c", ["learning_rate"]),
        ("ddpg", ["actor_learning_rate", "critic_learning_rate"]),
        ("td3", ["actor_learning_rate", "critic_learning_rate"]),
        ("d4pg", ["actor_learning_rate", "critic_learning_rate"]),
        ("sac", ["actor_learning_rate", "critic_learning_rate", "temperature_learning_rate"]),
    ],
)
@pytest.mark.table
def test_settings_and_rates(fit, kind, names):
    agent, history = fit(kind)
    rates = {name: values for name, values in history.items() if name.endswith("learning_rate")}
    assert rates == {name: [float(np.float32(0.1))] * 2 for name in names}
    settings = {
        "dqn": {"epsilon": 1 - 0.95 * np.array(history["env_steps"]) / 1e4},
        "ppo": {"clip_range": [0.2, 0.2]},
        "ddpg": {"exploration_noise": [0.1, 0.1]},
        "td3": {"exploration_noise": [0.1, 0.1]},
        "d4pg": {"exploration_noise": [0.3, 0.3]},
    }.get(kind, {})
    assert set(agent.settings) == set(settings)
    for name, values in settings.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6)


def test_a_rate_is_the_one_that_the_epoch_was_trained_with(fit):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1))
    _, history = fit("dqn", schedule)
    np.testing.assert_allclose(history["learning_rate"], [0.5, 0.25])
    if not KERAS_3:  # There the scheduler's own column has the same name as the agent's.
        np.testing.assert_allclose(history["lr"], history["learning_rate"])


def constant(agent, q):
    """Has all networks give the same value, whatever they are asked."""
    for network in ("q_network", "critic", "target_network", "target_critic"):
        for weight in getattr(getattr(agent, network, None), "weights", []):
            weight.assign(tf.zeros_like(weight))
        for weight in getattr(getattr(agent, network, None), "trainable_weights", []):
            if weight.shape == (1,) or (weight.shape == (2,) and network == "q_network"):
                weight.assign(tf.fill(weight.shape, q))


@pytest.mark.parametrize("kind", ["dqn", "ddpg", "td3"])
@pytest.mark.table
def test_td_errors(make_agent, batches, kind):
    agent = make_agent(kind, {"run_eagerly": True})
    constant(agent, 2.0)  # The online networks say 2 and the targets 0.
    for layer in agent.targets:
        for weight in layer.network.weights:
            if "actor" not in layer.name:
                weight.assign(tf.zeros_like(weight))
    (batch,) = batches(agent)
    expected = np.abs(batch["reward"].numpy() - 2.0).mean()
    history = agent.fit(batches(agent), verbose=0).history
    np.testing.assert_allclose(history["td_error"], [expected], rtol=1e-5)


@pytest.mark.parametrize("kind", ["sac", "d4pg"])
@pytest.mark.table
def test_td_errors_are_finite_means(make_agent, batches, kind):
    agent = make_agent(kind, {"run_eagerly": True})
    (batch,) = batches(agent)
    if kind == "d4pg":
        q_tm1 = agent._mean(agent.critic([batch["observation"], batch["action"]]))
        action = agent.target_actor(batch["next_observation"])
        q_t = agent._mean(agent.target_critic([batch["next_observation"], action]))
        target = batch["reward"] + 0.99 * batch["discount"] * q_t
        expected = float(np.abs(target - q_tm1).mean())
    history = agent.fit(batches(agent), verbose=0).history
    assert history["td_error"][0] > 0
    if kind == "d4pg":
        np.testing.assert_allclose(history["td_error"], [expected], rtol=1e-4)
    else:  # The loss is half the squared error of each of two critics.
        assert history["td_error"][0] <= history["critic_loss"][0] ** 0.5 + 1e-6


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.0),
        ([11.0, 12.0, 13.0, 14.0], 1.0),  # Right but for a constant.
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([4.0, 3.0, 2.0, 1.0], -3.0),
        ([1.0, 2.0, 3.0, -4.0], 1 - np.var([0, 0, 0, 8]) / np.var([1, 2, 3, 4])),
    ],
)
def test_explained_variance(value, expected):
    returns, weight = np.float32([1, 2, 3, 4]), np.ones(4, np.float32)
    np.testing.assert_allclose(
        on_policy.explained_variance(np.float32(value), returns, weight),
        expected,
        rtol=1e-6,
        atol=1e-6,
    )


def test_explained_variance_of_what_counts_and_of_what_does_not_vary():
    weight = np.float32([0, 4 / 3, 4 / 3, 4 / 3])
    value = np.float32([100, 2, 3, 4])
    explained = on_policy.explained_variance
    np.testing.assert_allclose(explained(value, np.float32([1, 2, 3, 4]), weight), 1.0)
    assert float(explained(value, np.full(4, 2, np.float32), weight)) == 0.0


@pytest.mark.parametrize("kind", ["ppo", "a2c"])
@pytest.mark.table
def test_explained_variance_is_the_rollouts(make_agent, kind, recorded_queue, tiny_env):
    arguments = {"update_epochs": 1} if kind == "ppo" else {}
    agent, queue = make_agent(kind, {"run_eagerly": True}, **arguments), recorded_queue()
    history = agent.fit(
        tiny_env(),
        steps_per_epoch=2,
        batch_size=8,
        replay=queue,
        callbacks=[CollectRollouts(16)],
        verbose=0,
    ).history
    (rollout,) = queue.rollouts
    examples = agent.examples({k: tf.constant(v) for k, v in rollout.items()})
    value, returns = examples["value"].numpy(), examples["return"].numpy()
    expected = 1 - np.var(returns - value) / np.var(returns)
    np.testing.assert_allclose(history["explained_variance"], [expected], rtol=1e-4)
