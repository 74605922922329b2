import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import TargetUpdate
from kerasrl.compatibility import variables_of

RATE = 0.1
SPACE = gym.spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))
SCALE, OFFSET = [2, 0.5], [0, 0.5]
# Two observations and their successors, of tf_agents' td3_agent_test.py.
REFERENCE = {
    "observation": np.float32([[1, 2], [3, 4]]),
    "action": np.float32([[5], [6]]),
    "reward": np.float32([10, 20]),
    "discount": np.ones(2, np.float32),
    "next_observation": np.float32([[5, 6], [7, 8]]),
}


def sgd(rate):
    return keras.optimizers.SGD(rate)


def linear_agent(tiny_env, space, observations, rates=(RATE, RATE), **arguments):
    """One whose actor and critics have no hidden layer."""
    size = space.shape[0]
    actor = keras.Sequential([keras.Input((observations,)), keras.layers.Dense(size)])
    inputs = [keras.Input((observations,)), keras.Input((size,))]
    value = keras.layers.Dense(1)(keras.layers.Concatenate()(inputs))
    agent = kerasrl.TD3(actor, keras.Model(inputs, value), discount=0.9, **arguments)
    agent.build(tiny_env(gym.spaces.Box(-1, 1, (observations,), np.float32), space))
    agent.compile(sgd(rates[0]), sgd(rates[1]), run_eagerly=True)
    agent.reseed(0)
    return agent


def step(agent):
    """A step on the reference's batch, whose actions are beyond the bounds of the space."""
    return agent.train_step(tf.nest.map_structure(tf.constant, REFERENCE))


def set_reference_weights(agent):
    """The actor 2 x + y + 5, both critics x + 3 y + 2 a + 4, and the same for the targets."""
    critic = [np.float32([[1], [3], [2]]), np.float32([4])]
    for actor in (agent.actor, agent.target_actor.network):
        actor.set_weights([np.float32([[2], [1]]), np.float32([5])])
    for critics in (agent.critic, agent.target_critic.network):
        critics.set_weights(critic * 2)


def test_the_actor_matches_tf_agents(tiny_env):
    box = gym.spaces.Box(-1, 1, (1,), np.float32)
    agent = linear_agent(tiny_env, box, 2, rates=(0.1, 0.0), policy_delay=1)
    set_reference_weights(agent)
    loss = step(agent)["actor_loss"]
    # Actions of 9 and 15, worth 29 and 49, with a gradient of 2.
    np.testing.assert_allclose(loss, -39)
    kernel, bias = agent.actor.get_weights()
    np.testing.assert_allclose(kernel, [[2 + 0.1 * 2 * 2], [1 + 0.1 * 2 * 3]], rtol=1e-6)
    np.testing.assert_allclose(bias, [5 + 0.1 * 2], rtol=1e-6)


@pytest.mark.parametrize("target_noise", [0.0, 10.0])
def test_the_critics_by_hand(tiny_env, target_noise):
    # The networks of tf_agents' test, whose own number for the loss is known to be wrong.
    box = gym.spaces.Box(-1, 1, (1,), np.float32)
    agent = linear_agent(tiny_env, box, 2, target_noise=target_noise, target_noise_clip=0.5)
    set_reference_weights(agent)
    # Next actions of 21 and 27, far beyond the bound whatever the noise, are taken for 1.
    errors = np.array([10 + 0.9 * (5 + 18 + 2 + 4) - 21, 20 + 0.9 * (7 + 24 + 2 + 4) - 31])
    loss = step(agent)["critic_loss"]
    np.testing.assert_allclose(loss, (errors**2).mean(), rtol=1e-6)  # Half, for each of the two.
    kernel, bias = agent.critic.get_weights()[2:]
    gradient = -(errors[:, None] * [[1, 2, 5], [3, 4, 6]]).mean(0)
    np.testing.assert_allclose(kernel[:, 0], [1, 3, 2] - RATE * gradient, rtol=1e-5)
    np.testing.assert_allclose(bias, 4 + RATE * errors.mean(), rtol=1e-5)


def doubles(weights):
    return [np.asarray(w, np.float64) for w in weights]


def linear(weights, x):
    kernel, bias = weights
    return x @ kernel + bias


def critics(weights, observation, action):
    """Values of both critics, [B, 2]; their weights follow one another."""
    x = np.concatenate([observation, action], -1)
    return np.concatenate([linear(weights[:2], x), linear(weights[2:], x)], -1)


def unit(action):
    return (action - OFFSET) / SCALE


def randomize(agent, scale):
    rng = np.random.default_rng(1)
    for network in (agent.actor, agent.critic, *(target.network for target in agent.targets)):
        network.set_weights([rng.normal(scale=scale, size=w.shape) for w in network.get_weights()])


def test_two_steps_equal_a_numpy_twin(tiny_env, batches):
    agent = linear_agent(
        tiny_env, SPACE, 3, target_noise=0.5, target_noise_clip=0.4, policy_delay=2
    )
    randomize(agent, 0.5)
    actor = doubles(agent.actor.get_weights())
    target_actor, target_critic = (
        doubles(target.network.get_weights())
        for target in (agent.target_actor, agent.target_critic)
    )
    seen = {"noise": [], "action": [], "lesser": []}

    def step(data, actor_is_due):
        b = {key: np.float64(value) for key, value in next(iter(data)).items()}
        before = doubles(agent.critic.get_weights())
        noise = 0.5 * np.float64(agent.random_normal((32, 2), salt=0))
        logs = agent.fit(data, callbacks=[TargetUpdate(1_000)], verbose=0).history
        logs = {name: value for name, (value,) in logs.items()}

        action_t = unit(linear(target_actor, b["next_observation"])) + np.clip(noise, -0.4, 0.4)
        q_t = critics(target_critic, b["next_observation"], np.clip(action_t, -1, 1))
        for name, value in (("noise", noise), ("action", action_t), ("lesser", q_t.argmin(-1))):
            seen[name].append(value)
        y = b["reward"] + 0.9 * b["discount"] * q_t.min(-1)
        q_tm1 = critics(before, b["observation"], unit(b["action"]))
        errors = y[:, None] - q_tm1
        np.testing.assert_allclose(logs["critic_loss"], (errors**2).sum(-1).mean() / 2, rtol=1e-4)
        np.testing.assert_allclose(logs["q_value"], q_tm1.mean(), rtol=1e-4)
        inputs = np.concatenate([b["observation"], unit(b["action"])], -1)
        updated = doubles(agent.critic.get_weights())
        for i in (0, 1):
            error = errors[:, i : i + 1]
            kernel, bias = before[2 * i : 2 * i + 2]
            expected = kernel + RATE * (error * inputs).mean(0)[:, None]
            np.testing.assert_allclose(updated[2 * i], expected, atol=1e-5)
            np.testing.assert_allclose(updated[2 * i + 1], bias + RATE * error.mean(), atol=1e-5)

        actor_loss = 0.0
        expected = actor
        if actor_is_due:
            # The first critic's value, after its own step.
            action = unit(linear(actor, b["observation"]))
            actor_loss = -critics(updated, b["observation"], action)[:, 0].mean()
            dqda = updated[0][3:, 0] / SCALE
            mean = b["observation"].mean(0)
            expected = [actor[0] + RATE * np.outer(mean, dqda), actor[1] + RATE * dqda]
        # Twice, so that the mean over an epoch is that of the steps that were due.
        np.testing.assert_allclose(logs["actor_loss"], 2 * actor_loss, rtol=1e-4)
        np.testing.assert_allclose(
            logs["loss"], logs["critic_loss"] + logs["actor_loss"], rtol=1e-5
        )
        for new, value in zip(agent.actor.get_weights(), expected, strict=True):
            np.testing.assert_allclose(new, value, atol=1e-6 if actor_is_due else 0)

    step(batches(agent, batch_size=32, seed=0), actor_is_due=False)
    step(batches(agent, batch_size=32, seed=1), actor_is_due=True)
    noise, action, lesser = (np.concatenate(value) for value in seen.values())
    assert (np.abs(noise) > 0.4).any() and (np.abs(noise) < 0.4).any()
    assert (np.abs(action) > 1).any() and (np.abs(action) < 1).any()
    assert set(lesser) == {0, 1}


def test_the_actor_and_the_targets_keep_their_own_periods(make_agent, batches):
    optimizers = {
        "actor_optimizer": keras.optimizers.Adam(0.01),
        "critic_optimizer": keras.optimizers.Adam(0.01),
    }
    agent = make_agent("td3", optimizers, policy_delay=3)
    agent.actor_optimizer.build(agent.actor.trainable_variables)
    variables = {
        "actor": agent.actor.variables,
        "actor's slots": variables_of(agent.actor_optimizer),
        "critic": agent.critic.variables,
        "target critic": agent.target_critic.network.variables,
        "target actor": agent.target_actor.network.variables,
    }
    history = []

    def record(*_, **__):
        history.append({name: [v.numpy() for v in part] for name, part in variables.items()})

    recorder = keras.callbacks.LambdaCallback(on_train_begin=record, on_batch_end=record)
    update = TargetUpdate(period=2, step_size=0.5)
    agent.fit(batches(agent, count=7), callbacks=[update, recorder], verbose=0)
    steps = {name: [] for name in variables}
    for step, (before, after) in enumerate(zip(history, history[1:], strict=False), start=1):
        for name in variables:
            pairs = zip(before[name], after[name], strict=True)
            changed = {bool((old != new).any()) for old, new in pairs}
            assert len(changed) == 1, (name, step)
            if changed.pop():
                steps[name].append(step)
    assert steps == {
        "actor": [3, 6],
        "actor's slots": [3, 6],
        "critic": [1, 2, 3, 4, 5, 6, 7],
        "target critic": [2, 4, 6],
        "target actor": [4, 6],  # At the second step it is the actor's equal.
    }
    assert int(agent.actor_optimizer.iterations) == 2
    assert int(agent.critic_optimizer.iterations) == 7


def test_the_actors_loss_is_a_mean_over_its_own_updates(make_agent, batches):
    compiled = {"actor_optimizer": sgd(0.0), "critic_optimizer": sgd(0.0), "run_eagerly": True}
    agent = make_agent("td3", compiled, policy_delay=3)
    batch = next(iter(batches(agent)))
    (loss,) = agent.fit(
        tf.data.Dataset.from_tensors(batch).repeat(6), callbacks=[TargetUpdate()], verbose=0
    ).history["actor_loss"]
    value = agent.critic([batch["observation"], agent.actor(batch["observation"])])[:, 0]
    np.testing.assert_allclose(loss, -value.numpy().mean(), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:action_space has low == high:UserWarning")
def test_a_constant_action_has_no_noise(tiny_env):
    space = gym.spaces.Box(np.float32([-1, 0.5]), np.float32([1, 0.5]))
    agent = linear_agent(tiny_env, space, 2)
    # Both critics are the second action, which is 0 of its range whatever is done.
    weights = [np.float32([[0], [0], [0], [1]]), np.zeros(1)]
    agent.target_critic.network.set_weights(weights * 2)
    agent.critic.set_weights(weights * 2)
    batch = REFERENCE | {"action": np.float32([[0, 0.5], [0, 0.5]])}
    (loss,) = agent.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history["critic_loss"]
    assert loss == (10**2 + 20**2) / 2


@pytest.mark.parametrize("policy_delay", [1, 5])
def test_the_targets_have_the_actors_period_by_default(policy_delay):
    _, update = kerasrl.TD3(policy_delay=policy_delay).default_callbacks()
    assert update.period == policy_delay


def test_the_twin_has_weights_of_its_own(tiny_env):
    agent = kerasrl.TD3()
    agent.build(tiny_env(action_space=SPACE))
    rng = np.random.default_rng(0)
    observation, action = (rng.normal(size=(8, size)).astype(np.float32) for size in (4, 2))
    q = agent.critic([observation, action]).numpy()
    assert q.shape == (8, 2)
    assert (q[:, 0] != q[:, 1]).all()
