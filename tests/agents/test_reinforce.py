from types import SimpleNamespace

import gymnasium as gym
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import CollectEpisodes
from kerasrl.errors import ArgumentError, EnvError
from kerasrl.run import Run
from kerasrl.testing import CountingEnv
from kerasrl.training.run_length import length

EAGER = {"run_eagerly": True}


def episodes_of(truncated):
    """Two episodes `[4, 2]`: rewards 1, 2, 3, and 4 alone; values 10, 20, 30, and 40."""
    valid = np.array([[1, 1], [1, 0], [1, 0], [0, 0]], bool)
    ended = np.array([[0, 1], [0, 0], [1, 0], [0, 0]], bool)
    policy, next_policy = np.zeros((4, 2, 3), np.float32), np.zeros((4, 2, 3), np.float32)
    policy[..., 2] = [[10, 40], [20, 0], [30, 0], [0, 0]]
    next_policy[..., 2] = np.where(ended & truncated, [[0, 200], [0, 0], [100, 0], [0, 0]], 0)
    return {
        "observation": np.zeros((4, 2, 4), np.float32),
        "action": np.zeros((4, 2), np.int64),
        "reward": np.float32([[1, 4], [2, 0], [3, 0], [0, 0]]),
        "discount": np.float32(valid & ~(ended & (not truncated))),
        "ended": ended,
        "valid": valid,
        "policy": policy,
        "next_policy": next_policy,
    }


def built(tiny_env, **arguments):
    agent = kerasrl.REINFORCE(**arguments)
    agent.build(tiny_env())
    return agent


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("baseline", [False, True])
def test_returns_of_episodes(tiny_env, baseline, truncated):
    agent = built(tiny_env, baseline=baseline, normalize_returns=False, discount=0.5)
    episodes = episodes_of(truncated)
    if not baseline:
        episodes |= {key: episodes[key][..., :2] for key in ("policy", "next_policy")}
    examples = agent.examples(episodes)
    beyond, other = (100, 200) if baseline and truncated else (0, 0)
    last, middle = 3 + 0.5 * beyond, 2 + 0.5 * (3 + 0.5 * beyond)
    returns = np.array([[1 + 0.5 * middle, 4 + 0.5 * other], [middle, 0], [last, 0], [0, 0]])
    np.testing.assert_allclose(examples["return"], returns)
    values = baseline * np.array([[10, 40], [20, 0], [30, 0], [0, 0]])
    np.testing.assert_allclose(examples["advantage"], returns - values)
    # Four of eight are steps of an episode.
    np.testing.assert_allclose(examples["weight"], 2.0 * episodes["valid"])


def test_normalisation_is_over_the_steps_of_all_episodes(tiny_env):
    agent = built(tiny_env, discount=0.5)
    examples = agent.examples(episodes_of(False) | {"policy": np.zeros((4, 2, 2), np.float32)})
    returns = np.array([1 + 0.5 * 3.5, 3.5, 3, 4])
    expected = (returns - returns.mean()) / returns.std()
    advantage = examples["advantage"].numpy()
    np.testing.assert_allclose(advantage[[0, 1, 2, 0], [0, 0, 0, 1]], expected, rtol=1e-5)


def fit(agent, env, max_steps=4, episodes=2, **arguments):
    return agent.fit(
        env,
        callbacks=[CollectEpisodes(episodes, max_steps), *arguments.pop("callbacks", [])],
        verbose=0,
        **arguments,
    )


SPACES = {
    "start": gym.spaces.Discrete(2, start=3),
    "MultiBinary": gym.spaces.MultiBinary(2),
    "Box": gym.spaces.Box(-0.1, 0.1, (2,), np.float32),
}


@pytest.mark.parametrize(
    ("name", "jit_compile"), [("start", True), ("MultiBinary", False), ("Box", False)]
)
@pytest.mark.table
def test_what_fills_the_columns_has_no_say(name, jit_compile):
    """The same episodes, whatever the longest there may be; 0 is not an action of every space."""
    weights = []
    for max_steps in (3, 20):
        agent = kerasrl.REINFORCE(baseline=True)
        keras.utils.set_random_seed(0)
        env = CountingEnv((3, 1, 2), action_space=SPACES[name])
        agent.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        history = fit(agent, env, max_steps, steps_per_epoch=3, seed=0).history
        assert np.isfinite(history["loss"]).all()
        assert len(env.actions) == 3 + 1 + 2 + 3 + 1 + 2
        weights.append(agent.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_run_of_epochs(make_agent, tiny_env):
    agent, env = make_agent("reinforce", EAGER), tiny_env(length=3)
    history = fit(agent, env, epochs=2, steps_per_epoch=2).history
    assert set(history) == {
        *agent.log_names,
        *("episode_return", "episode_length", "env_steps", "env_steps_per_second"),
        "learning_rate",
    }
    assert history["env_steps"] == [12.0, 24.0]  # Two updates of two episodes of three steps.
    assert history["episode_length"] == [3.0, 3.0]
    assert history["value_loss"] == [0.0, 0.0]
    assert len(env.actions) == int(agent.env_steps) == 24
    assert int(agent.optimizer.iterations) == 4


@pytest.mark.parametrize(
    ("arguments", "updates", "epochs"),
    [
        ({"env_steps": 24}, 4, 1),
        ({"env_steps": 25}, 5, 1),
        ({"env_steps": 24, "steps_per_epoch": 3}, 4, 2),
        ({"env_steps": 24, "steps_per_epoch": 2, "epochs": 1}, 2, 1),
        ({"env_steps": 1}, 1, 1),
    ],
    ids=repr,
)
@pytest.mark.table
def test_a_budget_ends_with_the_episodes_that_reach_it(
    make_agent, tiny_env, arguments, updates, epochs
):
    agent, env = make_agent("reinforce", EAGER), tiny_env(length=3)
    history = fit(agent, env, **arguments)
    assert int(agent.optimizer.iterations) == updates
    assert len(env.actions) == 6 * updates
    assert len(history.epoch) == epochs


def test_no_epochs_are_none():
    run = Run(object(), callbacks=[CollectEpisodes(2)], env_steps=24)
    asked = SimpleNamespace(epochs=0, steps_per_epoch=None, initial_epoch=0, verbose=0)
    assert length(run, asked) == (0, 50)


def test_an_epoch_has_50_updates_unless_told_otherwise(make_agent, tiny_env):
    stop = keras.callbacks.LambdaCallback()
    stop.on_train_batch_end = lambda batch, logs=None: setattr(agent, "stop_training", True)
    agent = make_agent("reinforce", EAGER)
    fit(agent, tiny_env(length=3), callbacks=[stop])
    assert stop.params["steps"] == 50


@pytest.mark.parametrize(
    ("compiled", "arguments", "rule"),
    [
        (
            {"steps_per_execution": 2},
            {},
            "steps_per_execution must be 1, as episodes are.*received 2",
        ),
        (
            {},
            {"batch_size": 8},
            "REINFORCE learns from all the episodes .* takes no batch_size.* 8",
        ),
    ],
)
@pytest.mark.table
def test_what_does_not_go_with_episodes_is_refused(make_agent, tiny_env, compiled, arguments, rule):
    with pytest.raises(ArgumentError, match=rule):
        fit(make_agent("reinforce", compiled), tiny_env(length=3), **arguments)


def test_an_environment_without_end_says_what_to_do(make_agent, tiny_env):
    agent, env = make_agent("reinforce", EAGER), tiny_env(length=10**9)
    with pytest.raises(EnvError, match="has not ended after max_steps=4 .*wrappers.TimeLimit"):
        fit(agent, env)
    assert agent.run is None
    assert len(env.actions) == 4


def test_a_critic_means_a_baseline(make_agent):
    agent = kerasrl.REINFORCE(critic=make_agent("a2c").critic)
    assert agent.baseline
    assert agent.get_config()["baseline"]
    assert kerasrl.REINFORCE().get_config()["critic"] is None


def test_default_networks(tiny_env):
    agent = built(tiny_env, baseline=True)
    assert agent.actor.count_params() == 4 * 100 + 100 + 100 * 2 + 2
    assert agent.critic.count_params() == 4 * 100 + 100 + 100 + 1
    assert built(tiny_env).critic is None
