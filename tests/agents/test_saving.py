import threading

import h5py
import keras
import numpy as np
import pytest

import kerasrl
from kerasrl.callbacks import Collect
from kerasrl.errors import AgentStateError, ArgumentError, MismatchError, UnsafeFileError


@pytest.mark.parametrize("name", ["dqn", "sac", "ddpg", "td3", "d4pg", "ppo", "a2c", "reinforce"])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_agent_that_is_not_built_comes_back(name, compiled, tmp_path):
    agent = getattr(kerasrl, name.upper())(discount=0.5)
    if compiled:
        agent.compile()
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert loaded.discount == 0.5
    assert not loaded.built
    assert loaded.get_compile_config() == agent.get_compile_config()


@pytest.mark.thorough
def test_weights_come_back(make_agent, batches, tmp_path):
    agent, other = make_agent("sac"), make_agent("sac", discount=0.5)
    agent.fit(batches(agent, count=4), verbose=0)
    agent.save_weights(tmp_path / "agent.weights.h5")
    other.load_weights(tmp_path / "agent.weights.h5")
    for one, another in zip(agent.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    assert int(other.critic_optimizer.iterations) == 4
    another = make_agent("sac", {"critic_optimizer": keras.optimizers.Adam()})
    before = another.get_weights()
    with pytest.raises(MismatchError, match="critic_optimizer"):
        another.load_weights(tmp_path / "agent.weights.h5")
    for one, other in zip(before, another.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_any_thread_saves_and_loads_as_often_as_it_likes(make_agent, tmp_path):
    agent, done = make_agent("dqn"), []

    def work():
        for _ in range(2):
            agent.save(tmp_path / "agent.keras")
            agent.save_weights(tmp_path / "agent.weights.h5")
            agent.load_weights(tmp_path / "agent.weights.h5")
            done.append(kerasrl.load(tmp_path / "agent.keras"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(done) == 2


def test_weights_of_an_agent_that_was_not_trained_yet_come_back(make_agent, tmp_path):
    make_agent("sac").save_weights(tmp_path / "agent.weights.h5")
    make_agent("sac").load_weights(tmp_path / "agent.weights.h5")


def plain_dqn(compiled):
    agent = kerasrl.DQN(keras.Sequential([keras.layers.Dense(2)]))
    if compiled:
        agent.compile(keras.optimizers.Adam(0.1))
    agent.build("CartPole-v1")
    return agent


@pytest.mark.parametrize("compiled", [(True, False), (False, True), (False, False)])
def test_weights_alone_come_back_where_one_side_has_no_optimizer(compiled, tmp_path):
    agent, other = map(plain_dqn, compiled)
    agent.save_weights(tmp_path / "agent.weights.h5")
    if compiled[1]:
        other.optimizer.build(other.trainable_variables)
        other.optimizer.iterations.assign(7)
    other.load_weights(tmp_path / "agent.weights.h5")
    for one, another in zip(agent.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    assert not compiled[1] or int(other.optimizer.iterations) == 7


def test_weights_need_a_built_agent(make_agent, tmp_path):
    make_agent("dqn").save_weights(tmp_path / "agent.weights.h5")
    with pytest.raises(AgentStateError, match="DQN is not built.* Call build"):
        make_agent("dqn", build=False).load_weights(tmp_path / "agent.weights.h5")


@pytest.mark.fault(63)
def test_weights_from_a_stranger_are_not_trusted(make_agent, tmp_path):
    agent, secret = make_agent("dqn"), tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.zeros(3)
    with h5py.File(tmp_path / "agent.weights.h5", "w") as file:
        file["vars"] = h5py.ExternalLink(str(secret), "secret")
    with pytest.raises(UnsafeFileError):
        agent.load_weights(tmp_path / "agent.weights.h5")


def test_a_file_that_is_there_may_be_kept(make_agent, tmp_path):
    agent = make_agent("dqn")
    for save, name in ((agent.save, "a.keras"), (agent.save_weights, "a.weights.h5")):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ArgumentError, match="is there already"):
            save(tmp_path / name, overwrite=False)
        assert (tmp_path / name).read_text() == "mine"
        with pytest.raises(ArgumentError, match="format"):
            save(tmp_path / name, save_format="tf")


def test_a_run_leaves_steps_per_execution_as_it_was(make_agent, tiny_env, small_replay):
    agent = make_agent("dqn", {"steps_per_execution": 4})
    agent.fit(
        tiny_env(),
        env_steps=50,
        epochs=2,
        batch_size=4,
        callbacks=[Collect(1, warmup_steps=32)],
        replay=small_replay(),
        verbose=0,
    )
    assert agent.get_compile_config()["steps_per_execution"] == 4
