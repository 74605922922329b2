import inspect
import warnings

import gymnasium as gym
import keras
import numpy as np
import pytest
from doubles import Told

import kerasrl
from kerasrl.callbacks import Collect, Evaluation, Video
from kerasrl.errors import ArgumentError, ArgumentTypeError, SpaceError


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits an agent for a few epochs of one step and returns the history."""

    def run(env=None, epochs=1, callbacks=(), **arguments):
        return make_agent("dqn", {"run_eagerly": True}).fit(
            env or tiny_env(),
            epochs=epochs,
            steps_per_epoch=1,
            batch_size=4,
            callbacks=[Collect(warmup_steps=32), *callbacks],
            verbose=0,
            **arguments,
        )

    return run


@pytest.mark.parametrize(("freq", "evaluations"), [(1, 4), (2, 2), (3, 1), (5, 0)])
@pytest.mark.table
def test_every_so_many_epochs(fit, tiny_env, freq, evaluations):
    env = tiny_env(length=3)
    history = fit(epochs=4, validation_data=env, validation_freq=freq).history
    due = np.arange(1, 5) % freq == 0
    for name, value in (("return", 3.0), ("return_std", 0.0), ("length", 3.0)):
        expected = np.where(due, value, np.nan)
        np.testing.assert_array_equal(history[f"val_episode_{name}"], expected)
    assert len(env.actions) == evaluations * 10 * 3
    assert not env.closed


def test_what_it_makes_it_closes(fit, tiny_env):
    made = []

    def factory():
        made.append(tiny_env())
        return made[-1]

    fit(validation_data=factory)
    assert len(made) == 1
    assert made[0].closed


def test_episodes_of_ones_own_number_and_seed(fit, tiny_env):
    env = tiny_env(length=3)
    fit(epochs=2, callbacks=[Evaluation(env, episodes=2, seed=9)])
    assert len(env.actions) == 2 * 2 * 3
    # Every evaluation begins with the same seed and goes on from there.
    assert [seed for seed in env.seeds if seed is not None] == [9, 9]


def test_a_seeded_run_evaluates_in_other_episodes_than_it_trains_in(fit, tiny_env):
    train, validation = tiny_env(), tiny_env()
    fit(train, seed=3, validation_data=validation)
    assert train.seeds[0] == 3
    assert validation.seeds[0] not in (None, 3)


def test_evaluating_does_not_disturb_the_training(make_agent, tiny_env):
    weights = []
    for validation in (None, tiny_env()):
        agent = make_agent("dqn", {"run_eagerly": True})
        agent.fit(
            tiny_env(),
            epochs=2,
            steps_per_epoch=4,
            batch_size=4,
            seed=0,
            callbacks=[Collect(warmup_steps=32)],
            validation_data=validation,
            verbose=0,
        )
        weights.append(agent.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.fault(61)
def test_the_environment_trained_on_is_warned_of(fit, tiny_env):
    env = tiny_env()
    with pytest.warns(UserWarning, match="the environment that is trained on is evaluated in too"):
        fit(env, validation_data=env)


def test_what_is_made_anew_is_not_warned_of(fit, tiny_env):
    env = tiny_env  # A class, called for each of the two.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the environment that is trained on")
        fit(env, validation_data=env)


def test_mistakes_show_before_training(fit, tiny_env):
    train = tiny_env()
    with pytest.raises(ArgumentTypeError):
        fit(train, validation_data=3)
    assert not train.actions
    with pytest.raises(SpaceError, match="this agent was built for"):
        fit(train, validation_data=tiny_env(action_space=gym.spaces.Discrete(3)))
    assert not train.actions


@pytest.mark.parametrize(
    "arguments",
    [{"episodes": 0}, {"every_epochs": 0}, {"every_epochs": -1}],
    ids=repr,
)
def test_bad_arguments_are_refused(tiny_env, arguments):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))} must be a positive int"):
        Evaluation(tiny_env(), **arguments)


def test_validation_freq_must_be_positive(fit, tiny_env):
    with pytest.raises(ArgumentError):
        fit(validation_data=tiny_env(), validation_freq=0)


def test_the_logs_come_before_the_callbacks_that_read_them(fit, tiny_env):
    seen = []
    read = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    evaluation = Evaluation(tiny_env(length=3), episodes=1)
    fit(callbacks=[read, evaluation])  # `read` is given first.
    assert seen[0]["val_episode_return"] == 3.0
    assert seen[0]["episode_return"] == 5.0


@pytest.mark.regression(12)
def test_an_environment_that_never_ends(fit, tiny_env):
    env = tiny_env(length=10**9)
    rule = "not ended after max_episode_steps=6 steps"
    with pytest.warns(UserWarning, match=rule):
        evaluation = Evaluation(env, episodes=2, max_episode_steps=6)
        history = fit(epochs=2, callbacks=[evaluation]).history
    assert history["val_episode_return"] == [6.0, 6.0]
    assert len(env.actions) == 24


@pytest.mark.regression(12)
def test_every_verb_has_a_limit():
    verbs = {
        108_000: [kerasrl.evaluate, kerasrl.Agent.evaluate, Evaluation],
        10_000: [Video, kerasrl.Agent.film],
    }
    for limit, having in verbs.items():
        for verb in having:
            parameters = inspect.signature(verb).parameters
            assert parameters["max_episode_steps"].default == limit


@pytest.mark.regression(40)
def test_callbacks_are_told_of_evaluations_as_in_keras(fit, make_agent, tiny_env):
    results = {"episode_return": 3.0, "episode_return_std": 0.0, "episode_length": 3.0}
    once = ["begin", *(x for i in range(10) for x in (i, (i, 3.0, 3.0))), results]
    tests = Told()
    fit(epochs=4, validation_data=tiny_env(length=3), validation_freq=2, callbacks=[tests])
    assert tests.told == once * 2
    tests.told.clear()
    make_agent("dqn").evaluate(tiny_env(length=3), callbacks=[tests], verbose=0)
    assert tests.told == once
