"""What agents make of a rollout: advantages, returns, weights."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl.agents.on_policy import actor_critic_examples, example_weights, normalize
from kerasrl.callbacks import CollectEpisodes, CollectRollouts
from kerasrl.networks import CategoricalActions
from kerasrl.testing import CountingEnv

ACTIONS = CategoricalActions(gym.spaces.Discrete(2))


def episodes(rollout, env):
    """The steps of one environment in a rollout, split where an episode ended."""
    valid = rollout["valid"][:, env]
    column = {key: leaf[:, env][valid] for key, leaf in rollout.items() if key != "observation"}
    ends = np.nonzero(column["ended"])[0] + 1
    parts = {key: np.split(leaf, ends) for key, leaf in column.items()}
    return [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]


def advantages(episode, discount, gae_lambda):
    """Generalized advantages of an episode, or of what a rollout holds of it, summed forwards."""
    v_tm1 = episode["policy"][:, -1].astype(np.float64)
    v_t = episode["next_policy"][:, -1].astype(np.float64)
    error = episode["reward"] + discount * episode["discount"] * v_t - v_tm1
    decay = (discount * gae_lambda) ** np.arange(len(error))
    return np.array([(decay[: len(error) - t] * error[t:]).sum() for t in range(len(error))])


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.table
def test_advantages_are_those_of_every_episode_by_itself(collected, mode, truncates):
    lengths = [(3, 1, 2), (5,), (10**6,)]
    env = SyncVectorEnv(
        [lambda cycle=cycle: CountingEnv(cycle, truncates) for cycle in lengths],
        autoreset_mode=mode,
    )
    _, rollouts, _ = collected(CollectRollouts(7), env, 2, num_envs=3)
    for rollout in rollouts:
        for gae_lambda in (0.0, 0.95, 1.0):
            examples = actor_critic_examples(rollout, ACTIONS, 0.9, gae_lambda, False)
            for i in range(3):
                parts = episodes(rollout, i)
                expected = np.concatenate([advantages(e, 0.9, gae_lambda) for e in parts])
                values = np.concatenate([e["policy"][:, -1] for e in parts])
                valid = rollout["valid"][:, i]
                received = examples["advantage"][:, i][valid]
                np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-3)
                received = examples["return"][:, i][valid]
                np.testing.assert_allclose(received, expected + values, rtol=1e-4, atol=1e-3)
    assert any(rollout["ended"][1:-1].any() for rollout in rollouts)


def rollout_of(reward, value, next_value, discount=None, ended=None, valid=None):
    """A rollout `[T, 1]` of Discrete(2) whose policy was uniform."""
    shape = (len(reward), 1)

    def column(values, default, dtype=np.float32):
        return np.reshape(np.full(shape, default) if values is None else values, shape).astype(
            dtype
        )

    def policy(values):
        return np.stack([np.zeros(shape), np.zeros(shape), column(values, 0)], -1).astype("f")

    return {
        "observation": np.zeros((*shape, 2), np.float32),
        "action": np.zeros(shape, np.int64),
        "reward": column(reward, 0),
        "discount": column(discount, 1),
        "ended": column(ended, False, bool),
        "valid": column(valid, True, bool),
        "policy": policy(value),
        "next_policy": policy(next_value),
        "env_steps": np.full(shape, 40, np.int64),
    }


def test_hand_values_with_a_truncation_in_the_middle():
    # Two steps of one episode that is truncated, worth 10 beyond; two of another, worth 20 beyond.
    rollout = rollout_of(
        reward=[1, 2, 3, 4],
        value=[0.5, 0.25, 0, 1],
        next_value=[0.25, 10, 1, 20],
        ended=[False, True, False, False],
    )
    examples = actor_critic_examples(rollout, ACTIONS, 0.5, 1.0, False)
    returns = [1 + 0.5 * (2 + 0.5 * 10), 2 + 0.5 * 10, 3 + 0.5 * (4 + 0.5 * 20), 4 + 0.5 * 20]
    np.testing.assert_allclose(examples["return"][:, 0], returns, rtol=1e-6)
    np.testing.assert_allclose(
        examples["advantage"][:, 0], np.subtract(returns, [0.5, 0.25, 0, 1]), rtol=1e-6
    )
    np.testing.assert_allclose(examples["value"][:, 0], [0.5, 0.25, 0, 1])
    np.testing.assert_allclose(examples["log_prob"], np.full((4, 1), np.log(0.5)), rtol=1e-6)
    np.testing.assert_array_equal(examples["weight"], np.ones((4, 1)))
    np.testing.assert_array_equal(examples["env_steps"], np.full((4, 1), 40))


def test_a_termination_bootstraps_nothing():
    ended = [False, True, False, False]
    rollout = rollout_of([1, 2, 3, 4], [0] * 4, [0, 99, 0, 0], [1, 0, 1, 1], ended)
    examples = actor_critic_examples(rollout, ACTIONS, 0.5, 1.0, False)
    np.testing.assert_allclose(examples["return"][:, 0], [2, 2, 5, 4])


def test_rows_that_are_not_valid_count_for_nothing():
    valid = [True, True, False, True]
    rollout = rollout_of([1, 2, 777, 6], [0] * 4, [0] * 4, ended=[0, 1, 0, 0], valid=valid)
    examples = actor_critic_examples(rollout, ACTIONS, 0.0, 1.0, True)
    np.testing.assert_allclose(examples["weight"][:, 0], [4 / 3, 4 / 3, 0, 4 / 3], rtol=1e-6)
    # Rewards 1, 2, 6: mean 3, variance (4 + 1 + 9) / 3.
    expected = (np.array([1, 2, 6]) - 3) / np.sqrt(14 / 3)
    received = examples["advantage"].numpy()[np.array(valid), 0]
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    np.testing.assert_allclose(examples["return"][:, 0][0:2], [1, 2])


def test_weights_and_normalisation_of_nothing_are_finite():
    np.testing.assert_array_equal(example_weights(tf.zeros((3, 2), tf.bool)), np.zeros((3, 2)))
    x = tf.constant([[5.0], [5.0]])
    np.testing.assert_array_equal(normalize(x, tf.ones((2, 1))), [[0], [0]])


class Constant(gym.Env):
    """Pays 1 a step for ever, and is truncated every `length` steps."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length):
        self.length = length

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.ones(1, np.float32), 1.0, False, self.time == self.length, {}


@pytest.mark.parametrize("kind", ["ppo", "a2c", "reinforce"])
@pytest.mark.table
def test_a_time_limit_does_not_lower_the_values(kind):
    """The value of 1 a step for ever, discounted by 0.8, is 5; that of 3 steps is 2.44."""
    networks = [
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(n, use_bias=False)]) for n in (2, 1)
    ]
    options = {"update_epochs": 1} if kind == "ppo" else {}
    agent = getattr(kerasrl, kind.upper())(*networks, discount=0.8, **options)
    agent.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    collector = CollectEpisodes(2, 3) if kind == "reinforce" else CollectRollouts(12)
    agent.fit(
        Constant(3),
        steps_per_epoch=40,
        batch_size=12 if kind == "ppo" else None,
        callbacks=[collector],
        seed=0,
        verbose=0,
    )
    np.testing.assert_allclose(agent.critic(np.ones((1, 1), "f")), [[5.0]], atol=0.1)


def linear_on_box(kind, box):
    """An agent whose networks have no hidden layer and begin alike, for actions of a Box."""
    agent_class = getattr(kerasrl, kind.upper())
    options = {"baseline": True} if kind == "reinforce" else {}
    networks = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(n)]) for n in (2, 1)]
    agent = agent_class(*networks, entropy_cost=0.1, **options)
    agent.build(kerasrl.envs.EnvSpec(gym.spaces.Box(-1, 1, (4,), np.float32), box))
    rng = np.random.default_rng(0)
    for network in networks:
        network.set_weights([rng.normal(scale=0.3, size=w.shape) for w in network.get_weights()])
    agent.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return agent


@pytest.mark.regression(33)
@pytest.mark.parametrize("kind", ["ppo", "a2c", "reinforce"])
@pytest.mark.table
def test_an_update_is_the_same_whatever_the_bounds(kind, examples):
    unit = np.random.default_rng(1).normal(size=(8, 1))
    updated, logged = [], []
    for low, high in ((-1, 1), (0, 300), (-1e-3, 1e-3), (-7, -3)):
        agent = linear_on_box(kind, gym.spaces.Box(low, high, (1,), np.float32))
        action = ((high + low) / 2 + (high - low) / 2 * unit).astype(np.float32)
        batch = {k: tf.constant(v) for k, v in examples(agent, action=action).items()}
        logged.append([float(value) for value in agent.train_step(batch).values()])
        updated.append(np.concatenate([w.ravel() for w in agent.actor.get_weights()]))
        # What it explores with is as far from the middle, in halves of the range.
        output = agent.policy(batch["observation"]).numpy()
        explored = agent.explore(output, np.random.default_rng(2))
        updated[-1] = np.append(updated[-1], (explored - (high + low) / 2) * 2 / (high - low))
    for other, log in zip(updated[1:], logged[1:], strict=True):
        np.testing.assert_allclose(other, updated[0], atol=1e-5)
        np.testing.assert_allclose(log, logged[0], rtol=1e-4)


class Throw(gym.Env):
    """One step: the nearer the action is to `best`, in units of `scale`, the more it pays."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, box, best, scale):
        self.action_space, self.best, self.scale = box, best, scale

    def reset(self, *, seed=None, options=None):
        return np.ones(1, np.float32), {}

    def step(self, action):
        error = (np.asarray(action, np.float64) - self.best) / self.scale
        return np.ones(1, np.float32), -float(np.mean(np.square(error))), True, False, {}


LEARNED = {  # A Box, the best action, and what counts as one unit.
    "unit": (gym.spaces.Box(-1, 1, (1,), np.float32), 0.5, 1),
    "three": (gym.spaces.Box(0, 3, (1,), np.float32), 2.25, 1.5),
    "wide": (gym.spaces.Box(0, 300, (1,), np.float32), 225, 150),
    "narrow": (gym.spaces.Box(-1e-3, 1e-3, (2,), np.float32), 5e-4, 1e-3),
    "from below": (gym.spaces.Box(0, np.inf, (1,), np.float32), 1.5, 1),
    "from above": (gym.spaces.Box(-np.inf, 0, (1,), np.float32), -1.5, 1),
    "mixed": (
        gym.spaces.Box(np.float32([0, -np.inf, 4]), np.float32([300, np.inf, 4])),
        [225, 0.5, 4],
        [150, 1, 1],
    ),
    "float64": (gym.spaces.Box(1e4, 1e4 + 1, (1,), np.float64), 1e4 + 0.75, 0.5),
}


@pytest.mark.slow
@pytest.mark.regression(33)
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("kind", ["ppo", "a2c", "reinforce"])
def test_the_best_action_is_found_whatever_the_bounds(kind, name):
    box, best, scale = LEARNED[name]
    networks = [keras.Sequential([keras.Input((1,)), keras.layers.Dense(2 * box.shape[0])])]
    options = {"update_epochs": 4} if kind == "ppo" else {}
    agent = getattr(kerasrl, kind.upper())(*networks, **options)
    agent.compile(keras.optimizers.Adam(0.02))
    collector = CollectEpisodes(32, 1) if kind == "reinforce" else CollectRollouts(32)
    agent.fit(
        Throw(box, np.array(best), np.array(scale)),
        steps_per_epoch=200,
        batch_size=32 if kind == "ppo" else None,
        callbacks=[collector],
        seed=0,
        verbose=0,
    )
    action = agent(np.ones((1, 1), np.float32)).numpy()[0].astype(np.float64)
    np.testing.assert_allclose((action - best) / scale, np.zeros(box.shape), atol=0.2)
