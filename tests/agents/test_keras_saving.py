"""Saving as Keras's own callbacks and tools call it, and copies by pickling."""

import copy
import os
import pickle

import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.errors import AgentStateError, ArgumentError, MismatchError, SaveError
from kerasrl.testing import CountingEnv

# What a user may call a checkpoint, and the file that it is in.
WHOLE = {
    "best": "best.keras",
    "best.keras": "best.keras",
    "best.h5": "best.h5.keras",
    "deeper/e{epoch}-{loss:.1f}": "deeper/e1-*.keras",
    "run.1": "run.1.keras",
}
WEIGHTS = {
    "cp.ckpt": "cp.ckpt.weights.h5",
    "best.h5": "best.h5",
    "best": "best.weights.h5",
    "x.weights.h5": "x.weights.h5",
    "deeper/checkpoint": "deeper/checkpoint.weights.h5",
    "cp-{epoch:04d}.ckpt": "cp-0001.ckpt.weights.h5",
}


def same(one, other):
    return all((x == y).all() for x, y in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.keras_2
@pytest.mark.regression(14)
@pytest.mark.parametrize("save_freq", ["epoch", 2])
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.table
def test_a_model_checkpoint_of_any_name(
    make_agent, batches, tmp_path, monkeypatch, name, save_freq
):
    monkeypatch.chdir(tmp_path)
    agent = make_agent("dqn", {"run_eagerly": True})
    callback = keras.callbacks.ModelCheckpoint(name, save_freq=save_freq)
    agent.fit(batches(agent, count=2), callbacks=[callback], verbose=0)
    (path,) = tmp_path.glob(WHOLE[name])
    assert same(kerasrl.load(path), agent)
    if "{" not in name:
        assert same(kerasrl.load(name), agent)


@pytest.mark.keras_2
@pytest.mark.regression(14)
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.table
def test_a_model_checkpoint_of_weights_of_any_name(
    make_agent, batches, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    agent = make_agent("sac", {"run_eagerly": True})
    callback = keras.callbacks.ModelCheckpoint(
        name, monitor="loss", mode="min", save_weights_only=True, save_best_only=True
    )
    agent.fit(batches(agent), callbacks=[callback], verbose=0)
    assert (tmp_path / WEIGHTS[name]).is_file()
    other = make_agent("sac", {"run_eagerly": True})
    other.load_weights(name.format(epoch=1))
    assert same(other, agent)
    assert int(other.optimizer.iterations) == 1


@pytest.mark.regression(14)
@pytest.mark.parametrize(
    ("name", "weights", "rule"),
    [
        pytest.param(
            "best.keras", True, "a name of a whole agent. Call save ", marks=pytest.mark.keras_2
        ),  # Keras 3 refuses it itself.
        ("best.weights.h5", False, "a name of weights alone. Call save_weights "),
    ],
)
def test_a_name_that_cannot_be_saved_is_refused_before_training(
    make_agent, batches, tmp_path, name, weights, rule
):
    agent = make_agent("dqn", {"run_eagerly": True})
    callback = keras.callbacks.ModelCheckpoint(str(tmp_path / name), save_weights_only=weights)
    with pytest.raises(ArgumentError, match=rule):
        agent.fit(batches(agent), callbacks=[callback], verbose=0)
    assert int(agent.optimizer.iterations) == 0
    with pytest.raises(ArgumentError, match=rule):
        agent.save_weights(tmp_path / name) if weights else agent.save(tmp_path / name)


@pytest.mark.regression(14)
def test_keras_calls_of_saving_and_loading(make_agent, batches, tmp_path):
    agent, other = make_agent("dqn"), make_agent("dqn")
    agent.fit(batches(agent), verbose=0)
    agent.save_weights(str(tmp_path / "checkpoint"), overwrite=True, save_format=None, options=None)
    other.load_weights(str(tmp_path / "checkpoint"), skip_mismatch=True, by_name=False)
    assert same(other, agent)
    agent.save(tmp_path / "whole", include_optimizer=True, options=None, save_traces=True)
    other = make_agent("dqn")
    other.load_weights(tmp_path / "whole.keras")
    assert same(other, agent)
    with pytest.raises(ArgumentError, match="whole.keras is there already"):
        agent.save(tmp_path / "whole", overwrite=False)
    with pytest.raises(ArgumentError, match="checkpoint.weights.h5 is there already"):
        agent.save_weights(tmp_path / "checkpoint", overwrite=False)
    with pytest.raises(ArgumentError, match="by_name=True. Pass skip_mismatch=True"):
        other.load_weights(tmp_path / "checkpoint", by_name=True)
    with pytest.raises(ArgumentError, match="export_policy"):
        agent.save(tmp_path / "whole", signatures=[])


@pytest.mark.regression(14)
@pytest.mark.parametrize("kind", ["dqn", "sac"])
@pytest.mark.table
def test_an_agent_without_its_optimizers(make_agent, batches, tmp_path, kind):
    agent = make_agent(kind, {"run_eagerly": True})
    agent.fit(batches(agent), verbose=0)
    agent.save(tmp_path / "agent.keras", include_optimizer=False)
    loaded = kerasrl.load(tmp_path / "agent.keras")
    observation = np.random.default_rng(0).normal(size=(8, 4))
    predicted = [each.predict(observation, verbose=0) for each in (agent, loaded)]
    np.testing.assert_allclose(*predicted, rtol=1e-5)  # One eagerly, the other in a graph.
    with pytest.raises(AgentStateError, match="must be compiled"):
        loaded.fit(batches(agent))
    agent.save(tmp_path / "with.keras")
    assert os.path.getsize(tmp_path / "with.keras") > os.path.getsize(tmp_path / "agent.keras")


@pytest.mark.regression(14)
def test_weights_that_do_not_fit_are_left_out_if_asked_for(tmp_path):
    def agent(units):
        made = kerasrl.DQN(
            keras.Sequential(
                [keras.Input((2,)), keras.layers.Dense(units), keras.layers.Dense(2, name="last")]
            )
        )
        made.build(CountingEnv())
        return made

    small, large = agent(4), agent(5)
    small.q_network.layers[1].bias.assign([5.0, 6.0])
    small.save_weights(tmp_path / "small")
    before = large.q_network.layers[0].get_weights()
    with pytest.raises(MismatchError):
        large.load_weights(tmp_path / "small")
    with pytest.warns(UserWarning, match=r"(?s)were not loaded:.*q_network/layers/dense/vars/0"):
        large.load_weights(tmp_path / "small", skip_mismatch=True)
    np.testing.assert_array_equal(large.q_network.layers[1].bias, [5.0, 6.0])
    for one, other in zip(before, large.q_network.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of a user's, without a config."""

    def __call__(self, step):
        return 0.1


@pytest.mark.regression(51)
def test_a_schedule_without_a_config_trains_and_is_named_where_it_is_saved(
    make_agent, batches, tmp_path
):
    agent = make_agent(
        "sac", {"critic_optimizer": keras.optimizers.SGD(Rate()), "run_eagerly": True}
    )
    agent.fit(batches(agent), verbose=0)
    assert int(agent.critic_optimizer.iterations) == 1
    rule = r"SAC cannot be saved: Rate, of its critic_optimizer, .*Define get_config\(\) in Rate"
    with pytest.raises(SaveError, match=rule):
        agent.save(tmp_path / "agent.keras")
    assert list(tmp_path.iterdir()) == []
    agent.save_weights(tmp_path / "agent")
    agent.load_weights(tmp_path / "agent")
    for callback in (
        keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras")),
        kerasrl.callbacks.Checkpoint(tmp_path / "run"),
    ):
        with pytest.raises(SaveError, match=rule):
            agent.fit(batches(agent), callbacks=[callback], verbose=0)
    assert int(agent.critic_optimizer.iterations) == 1


class Unregistered(kerasrl.DQN):
    """A user's agent."""


def agents(make_agent, batches):
    new = kerasrl.DQN(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]), n_step=3)
    compiled = kerasrl.SAC(temperature=0.5)
    compiled.compile(critic_optimizer=keras.optimizers.SGD(0.3))
    built = kerasrl.PPO()
    built.build(CountingEnv())
    trained = make_agent("td3", {"run_eagerly": True})
    trained.fit(batches(trained), verbose=0)
    return {"new": new, "compiled": compiled, "built": built, "trained": trained} | {
        "own": Unregistered(double=True)
    }


@pytest.mark.regression(27)
@pytest.mark.parametrize("state", ["new", "compiled", "built", "trained", "own"])
@pytest.mark.parametrize(
    "copied",
    [lambda agent: pickle.loads(pickle.dumps(agent)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
@pytest.mark.thorough
def test_an_agent_is_copied_whatever_its_state(make_agent, batches, state, copied):
    agent = agents(make_agent, batches)[state]
    made = copied(agent)
    assert made is not agent
    assert type(made) is type(agent)
    assert made.built == agent.built
    assert made.get_compile_config() == agent.get_compile_config()
    assert made.observation_space == agent.observation_space
    if state == "new":
        assert made.n_step == 3
        assert same(made.q_network, agent.q_network)
    elif agent.built:
        assert same(made, agent)
    if state == "trained":
        for name in ("actor_optimizer", "critic_optimizer"):
            ours, theirs = getattr(agent, name).variables, getattr(made, name).variables
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
