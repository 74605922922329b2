"""MinAtar's games, whose observations are boxes of bools."""

import gymnasium as gym
import pytest

import kerasrl

minatar_gym = pytest.importorskip(
    "minatar.gym", reason="minatar is installed by .ci/external alone, see docs/constraints.txt"
)


@pytest.mark.regression(43)
def test_dqn_trains_and_acts_in_a_game():
    if "MinAtar/Breakout-v1" not in gym.registry:
        minatar_gym.register_envs()
    agent = kerasrl.DQN()
    agent.compile()
    history = agent.fit(
        "MinAtar/Breakout-v1",
        steps_per_epoch=8,
        replay=kerasrl.replay.Uniform(1_000),
        callbacks=[kerasrl.callbacks.Collect(4, warmup_steps=100)],
        verbose=0,
    )
    assert history.history["env_steps"][-1] >= 128
    assert agent.evaluate("MinAtar/Breakout-v1", episodes=1, verbose=0)[0] >= 0
