"""Keras's schedulers and the optimizers of an agent."""

import warnings

import keras
import numpy as np
import pytest

from kerasrl.callbacks import Checkpoint, LinearSchedule
from kerasrl.compatibility import KERAS_3

pytestmark = pytest.mark.regression(7)

AGENTS = {
    "sac": ("actor_optimizer", "critic_optimizer", "temperature_optimizer"),
    "ddpg": ("actor_optimizer", "critic_optimizer"),
    "td3": ("actor_optimizer", "critic_optimizer"),
    "d4pg": ("actor_optimizer", "critic_optimizer"),
    "dqn": ("optimizer",),
}
RATES = (0.1, 0.02, 0.004)


def make(make_agent, kind, rates=RATES, wrap=lambda optimizer: optimizer):
    optimizers = zip(AGENTS[kind], rates, strict=False)
    compiled = {name: wrap(keras.optimizers.SGD(rate)) for name, rate in optimizers}
    return make_agent(kind, {"run_eagerly": True} | compiled)


def fit(agent, batches, *callbacks, epochs=2, **arguments):
    return agent.fit(batches(agent), epochs=epochs, callbacks=[*callbacks], verbose=0, **arguments)


def now(agent):
    return [float(getattr(agent, name).learning_rate) for name in agent.optimized_variables()]


def halved(epoch, rate):
    return rate / 2


class Own(keras.callbacks.LearningRateScheduler):
    pass


@pytest.mark.parametrize("kind", AGENTS)
@pytest.mark.parametrize(
    "scheduler",
    [
        lambda: keras.callbacks.LearningRateScheduler(halved),
        lambda: Own(halved),
        lambda: keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=0, mode="max", min_delta=9),
    ],
    ids=["scheduler", "subclass", "plateau"],
)
@pytest.mark.thorough
def test_all_optimizers_are_scheduled_alike(make_agent, batches, kind, scheduler):
    agent = make(make_agent, kind)
    callback = scheduler()
    # The plateau's first value is the best; there are two halvings either way.
    epochs = 3 if isinstance(callback, keras.callbacks.ReduceLROnPlateau) else 2
    fit(agent, batches, callback, epochs=epochs)
    expected = [rate / 4 for rate in RATES[: len(AGENTS[kind])]]
    np.testing.assert_allclose(now(agent), expected, rtol=1e-6)


def test_an_absolute_schedule_keeps_the_ratios_through_zero(make_agent, batches):
    agent = make(make_agent, "sac")
    rates = [0.0, 0.05, 0.2]
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    history = fit(agent, batches, schedule, epochs=3).history
    np.testing.assert_allclose(history["actor_learning_rate"], rates, rtol=1e-6)
    np.testing.assert_allclose(history["critic_learning_rate"], [0, 0.01, 0.04], rtol=1e-6)
    np.testing.assert_allclose(history["temperature_learning_rate"], [0, 0.002, 0.008], rtol=1e-6)


def test_the_main_rate_need_not_be_the_first(make_agent, batches):
    agent = make(make_agent, "td3")  # Whose main optimizer is the critic's.
    fit(agent, batches, keras.callbacks.LearningRateScheduler(lambda epoch: 0.01))
    np.testing.assert_allclose(now(agent), [0.05, 0.01], rtol=1e-6)


def test_one_optimizer_is_reached_by_its_name(make_agent, batches):
    agent = make(make_agent, "sac")
    fit(agent, batches, LinearSchedule("critic_optimizer.learning_rate", 0.02, 0.01, steps=2))
    np.testing.assert_allclose(now(agent), [0.1, 0.01, 0.004], rtol=1e-6)


def test_a_schedule_of_its_own_is_left_alone(make_agent, batches):
    agent = make(make_agent, "sac")
    decay = keras.optimizers.schedules.InverseTimeDecay(0.3, 1, 1.0)
    agent.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(decay), keras.optimizers.SGD(0.1))
    history = fit(agent, batches, keras.callbacks.LearningRateScheduler(halved)).history
    np.testing.assert_allclose(history["actor_learning_rate"], [0.05, 0.025], rtol=1e-6)
    # Keras 2 tells the rate of the last step, Keras 3 that of the next.
    rates = [0.15, 0.1] if KERAS_3 else [0.3, 0.15]
    np.testing.assert_allclose(history["critic_learning_rate"], rates, rtol=1e-6)
    np.testing.assert_allclose(history["temperature_learning_rate"], [0.05, 0.025], rtol=1e-6)


def test_a_wrapped_optimizer_is_scheduled(make_agent):
    agent = make(make_agent, "sac", wrap=keras.mixed_precision.LossScaleOptimizer)
    from kerasrl.training.learning_rates import LearningRates

    rates = LearningRates(agent, {})
    with rates.following(keras.callbacks.LearningRateScheduler(halved)):
        agent.optimizer.learning_rate = 0.05
    np.testing.assert_allclose(now(agent), [0.05, 0.01, 0.002], rtol=1e-6)


def test_no_ratio_to_zero(make_agent, batches):
    agent = make(make_agent, "sac", rates=(0.0, 0.02, 0.004))
    with pytest.warns(UserWarning, match="of one optimizer only, as that was 0"):
        fit(agent, batches, keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), epochs=1)
    np.testing.assert_allclose(now(agent), [0.1, 0.02, 0.004], rtol=1e-6)


@pytest.mark.thorough
def test_a_resumed_run_keeps_the_ratios_of_its_beginning(make_agent, batches, tmp_path):
    def run(directory, *epochs):
        for last in epochs:
            agent = make(make_agent, "sac")
            callbacks = [keras.callbacks.LearningRateScheduler(halved), Checkpoint(directory)]
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                fit(agent, batches, *callbacks, epochs=last, seed=1)
        return agent

    whole, resumed = run(tmp_path / "whole", 4), run(tmp_path / "broken", 2, 4)
    assert now(whole) == now(resumed)
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(now(whole), np.array(RATES) / 16, rtol=1e-6)
