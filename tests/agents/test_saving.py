import keras
import numpy as np
import pytest

from kerasrl.callbacks import Collect


@pytest.mark.parametrize("name", ["dqn", "sac", "ddpg", "td3", "d4pg"])
def test_an_agent_comes_back_whole(name, make_agent, batches, tmp_path):
    agent = make_agent(name, {"steps_per_execution": 4})
    agent.fit(batches(agent, count=8), verbose=0)
    agent.save(tmp_path / "agent.keras")
    loaded = keras.models.load_model(tmp_path / "agent.keras")
    assert type(loaded) is type(agent)
    for key, value in agent.get_config().items():
        assert isinstance(value, dict) or loaded.get_config()[key] == value
    assert loaded.get_compile_config() == agent.get_compile_config()
    assert loaded.get_build_config() == agent.get_build_config()
    for one, other in zip(loaded.get_weights(), agent.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for argument in agent.optimized_variables():
        ours, theirs = getattr(agent, argument).variables, getattr(loaded, argument).variables
        assert len(ours) > 1
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


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
