"""Averages of weights that optimizers keep; networks that are not simple to walk through."""

import gymnasium as gym
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import TargetUpdate
from kerasrl.compatibility import KERAS_3

KINDS = ("dqn", "sac", "ddpg", "td3", "d4pg")


def variables_of(agent):
    return {
        name: [v.numpy() for v in variables]
        for name, variables in agent.optimized_variables().items()
    }


class Weights(keras.callbacks.Callback):
    """Keeps the weights after every step, as they are before the run ends."""

    def __init__(self):
        super().__init__()
        self.after = []

    def on_train_batch_end(self, batch, logs=None):
        self.after.append(variables_of(self.model))


def averaging(kind, **options):
    names = {"dqn": ("optimizer",), "sac": ("actor", "critic", "temperature")}
    names = names.get(kind, ("actor", "critic"))
    names = [name if name == "optimizer" else f"{name}_optimizer" for name in names]
    return {
        name: keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, **options) for name in names
    }


@pytest.mark.regression(11)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_a_run_ends_with_the_averages_of_every_optimizer(make_agent, batches, kind):
    options = {"policy_delay": 1} if kind == "td3" else {}
    agent = make_agent(kind, averaging(kind), **options)
    expected, kept = variables_of(agent), Weights()
    agent.fit(batches(agent, count=4), callbacks=[kept, TargetUpdate(period=1_000)], verbose=0)
    if KERAS_3:  # Its averages begin with the weights after the first step, not before it.
        expected = {name: list(arrays) for name, arrays in kept.after[0].items()}
    for after in kept.after[KERAS_3:]:
        for name, arrays in after.items():
            expected[name] = [
                0.5 * e + 0.5 * w for e, w in zip(expected[name], arrays, strict=True)
            ]
    for name, arrays in variables_of(agent).items():
        for received, average, last in zip(
            arrays, expected[name], kept.after[-1][name], strict=True
        ):
            np.testing.assert_allclose(received, average, atol=1e-6, err_msg=name)
            assert (received != last).any(), name
    # And so does another.
    agent.fit(batches(agent, count=1), verbose=0)


@pytest.mark.regression(11)
def test_an_optimizer_without_averages_ends_with_the_last_weights(make_agent, batches):
    optimizers = averaging("ddpg") | {"critic_optimizer": keras.optimizers.SGD(0.1)}
    agent, kept = make_agent("ddpg", optimizers), Weights()
    agent.fit(batches(agent, count=3), callbacks=[kept], verbose=0)
    ended, last = variables_of(agent), kept.after[-1]
    np.testing.assert_array_equal(ended["critic_optimizer"][0], last["critic_optimizer"][0])
    assert (ended["actor_optimizer"][0] != last["actor_optimizer"][0]).any()


@pytest.mark.regression(11)
@pytest.mark.parametrize("kind", ["sac", "td3"])
@pytest.mark.table
def test_averages_are_taken_over_now_and_then(make_agent, batches, kind):
    options = {"policy_delay": 1} if kind == "td3" else {}
    frequent = averaging(kind, ema_overwrite_frequency=1)
    agent, kept = make_agent(kind, frequent, **options), Weights()
    agent.fit(batches(agent, count=3), callbacks=[kept], verbose=0)
    for name, arrays in variables_of(agent).items():  # There is nothing left to take over.
        for received, last in zip(arrays, kept.after[-1][name], strict=True):
            np.testing.assert_allclose(received, last, atol=1e-7)


@pytest.mark.regression(11)
def test_a_temperature_that_is_not_learned_has_no_average_to_take_over(make_agent, batches):
    agent = make_agent("sac", averaging("sac"), learn_temperature=False, temperature=0.25)
    agent.fit(batches(agent, count=2), verbose=0)
    np.testing.assert_allclose(np.exp(agent.log_temperature), 0.25, rtol=1e-6)


@pytest.mark.regression(11)
def test_a_run_that_breaks_keeps_the_weights_as_they_were(make_agent, batches):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    agent, kept = make_agent("ddpg", averaging("ddpg")), Weights()
    with pytest.raises(KeyboardInterrupt):
        agent.fit(batches(agent, count=3), callbacks=[kept, Break()], verbose=0)
    for name, arrays in variables_of(agent).items():
        np.testing.assert_array_equal(arrays[0], kept.after[-1][name][0])
    assert "finalize_variable_values" not in vars(agent.optimizer)


RECURRENT = {
    "LSTM": lambda: keras.layers.LSTM(4, recurrent_dropout=0.2),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(4, dropout=0.2),
    "GRU": lambda: keras.layers.GRU(4, dropout=0.2, recurrent_dropout=0.2),
    "Bidirectional": lambda: keras.layers.Bidirectional(
        keras.layers.LSTM(4, recurrent_dropout=0.2)
    ),
    "stacked cells": lambda: keras.layers.RNN(
        [keras.layers.GRUCell(4, dropout=0.2), keras.layers.LSTMCell(4, recurrent_dropout=0.2)]
    ),
}


@pytest.mark.regression(19)
@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.thorough
def test_recurrent_layers_with_dropout_train(name, batches, tiny_env):
    box = gym.spaces.Box(-1, 1, (4, 1), np.float32)
    network = keras.Sequential([keras.Input((4, 1)), RECURRENT[name](), keras.layers.Dense(2)])
    normalize = kerasrl.networks.ObservationNormalization()
    network = keras.Sequential([keras.Input((4, 1)), normalize, *network.layers])
    agent = kerasrl.DQN(network)
    agent.build(tiny_env(box))
    agent.compile(keras.optimizers.SGD(0.1))
    assert agent.observation_normalizers == [normalize]
    before = network.get_weights()
    history = agent.fit(batches(agent, count=2), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert any((a != b).any() for a, b in zip(before, network.get_weights(), strict=True))
