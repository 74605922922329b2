"""Callbacks that use the very environment that is being trained in."""

import gymnasium as gym
import keras
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kerasrl
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts, Evaluation
from kerasrl.testing import CountingEnv

USES = {
    "agent.evaluate": lambda agent, env: agent.evaluate(env, episodes=1, verbose=0),
    "kerasrl.evaluate": lambda agent, env: kerasrl.evaluate(env, agent, episodes=1),
    "reset": lambda agent, env: env.reset(),
    "through a wrapper": lambda agent, env: kerasrl.evaluate(gym.Wrapper(env), episodes=1),
}


def meddling(collector, use):
    """The same collector, before each of whose turns something else happens."""
    begin = collector.on_train_batch_begin

    def meddle_and_begin(batch, logs=None):
        use(collector.model)
        begin(batch, logs)

    collector.on_train_batch_begin = meddle_and_begin
    return collector


def actual(observation, next_observation, reward):
    """Whether steps of a `CountingEnv` are ones that happened."""
    same_episode = next_observation[..., 0] == observation[..., 0]
    next_step = next_observation[..., 1] == observation[..., 1] + 1
    return same_episode & next_step & (reward == observation[..., 1] + 1)


@pytest.fixture
def fit():
    """Fits a DQN for six epochs, and returns the history and what its replay holds."""

    def run(env, *callbacks, n_step=1, **arguments):
        network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        agent = kerasrl.DQN(network, n_step=n_step, discount=1.0)
        agent.compile(run_eagerly=True)
        with kerasrl.replay.Uniform(64) as replay:
            history = agent.fit(
                env,
                epochs=6,
                steps_per_epoch=8,
                batch_size=4,
                replay=replay,
                callbacks=[Collect(env_steps_per_update=2, warmup_steps=64), *callbacks],
                verbose=0,
                **arguments,
            )
            (batch,) = replay.dataset(64).take(1)
        return history, batch

    return run


@pytest.mark.regression(46)
@pytest.mark.parametrize("use", ["agent.evaluate", "kerasrl.evaluate", "reset"])
@pytest.mark.table
def test_no_transition_that_never_happened_is_learned_from(fit, use):
    env = CountingEnv((7,))

    class Meddler(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch % 3 == 0:
                USES[use](self.model, env)

    with pytest.warns(UserWarning, match="was reset or stepped by something else") as record:
        history, batch = fit(env, Meddler())
    assert len([w for w in record if "something else" in str(w.message)]) == 1
    columns = [batch[key].numpy() for key in ("observation", "next_observation", "reward")]
    assert actual(*columns).all()
    assert set(history.history["episode_return"]) == {28.0}


@pytest.mark.regression(46)
@pytest.mark.parametrize("mode", [None, *AutoresetMode])
@pytest.mark.table
def test_nor_any_of_several_steps_in_several_environments(fit, mode):
    kind = CountingEnv
    env = kind((5,)) if mode is None else SyncVectorEnv([kind, kind], autoreset_mode=mode)

    class Meddler(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            env.reset()

    with pytest.warns(UserWarning, match="was reset or stepped by something else"):
        _, batch = fit(env, Meddler(), n_step=2)
    before, after = batch["observation"].numpy(), batch["next_observation"].numpy()
    steps = after[:, 1] - before[:, 1]
    assert (after[:, 0] == before[:, 0]).all() and set(steps) <= {1, 2}
    expected = before[:, 1] + 1 + np.where(steps == 2, after[:, 1], 0)
    np.testing.assert_array_equal(batch["reward"], expected)


@pytest.mark.regression(46)
@pytest.mark.parametrize("use", ["reset", "through a wrapper"])
def test_a_rollout_holds_no_step_that_never_happened(collected, use):
    env = CountingEnv((5,))
    collector = meddling(CollectRollouts(8), lambda agent: USES[use](agent, env))
    with pytest.warns(UserWarning, match="was reset or stepped by something else"):
        _, rollouts, logs = collected(collector, env, turns=3)
    assert logs["episode_return"] == 15.0
    for rollout in rollouts:
        valid = rollout["valid"][:, 0]
        observation, ended = rollout["observation"][:, 0], rollout["ended"][:, 0]
        assert not valid[0]  # That step began another episode instead.
        goes_on = valid[:-1] & valid[1:] & ~ended[:-1]
        steps = observation[:-1], observation[1:], rollout["reward"][:-1, 0]
        assert actual(*steps)[goes_on].all() and goes_on.sum() > 3


@pytest.mark.regression(46)
def test_whole_episodes_are_whole(collected):
    env = CountingEnv((5,))
    collector = CollectEpisodes(2, 10)
    act, calls = collector.act, []

    def act_and_meddle(observation):
        calls.append(1)
        if len(calls) in (3, 13):
            env.step(0)
        return act(observation)

    collector.act = act_and_meddle
    with pytest.warns(UserWarning, match="was reset or stepped by something else"):
        _, rollouts, logs = collected(collector, env, turns=2)
    assert logs["episode_return"] == 15.0
    for rollout in rollouts:
        assert rollout["valid"].sum(axis=0).tolist() == [5, 5]
        np.testing.assert_array_equal(rollout["reward"][:5], [[t, t] for t in range(1, 6)])
        episodes = rollout["observation"][:5, :, 0]
        assert (episodes == episodes[0]).all()


@pytest.mark.regression(46)
def test_validation_in_the_training_environment_goes_by_the_same_rule(fit):
    env = CountingEnv((7,))
    with pytest.warns(UserWarning) as record:
        history, batch = fit(env, Evaluation(env, episodes=1), n_step=1)
    messages = [str(warning.message) for warning in record]
    told = [message for message in messages if "broken off" in message or "breaks off" in message]
    assert len(told) == 1 and "the environment that is trained on is evaluated in too" in told[0]
    columns = [batch[key].numpy() for key in ("observation", "next_observation", "reward")]
    assert actual(*columns).all()
    assert set(history.history["episode_return"]) == {28.0}


def test_an_evaluation_that_is_never_left_alone_ends():
    env = CountingEnv((5,))

    def policy(observation):
        env.reset()
        return np.zeros(1, int)

    with (
        pytest.warns(UserWarning, match="something else"),
        pytest.raises(kerasrl.errors.EnvError, match="101 episodes were broken off"),
    ):
        kerasrl.evaluate(env, policy)
