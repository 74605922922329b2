"""Every agent under `tf.experimental.numpy.experimental_enable_numpy_behavior()`."""

import pytest

SCRIPT = """
import numpy as np, tensorflow as tf, gymnasium as gym, keras, kerasrl, kerasrl.testing
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts

tf.experimental.numpy.experimental_enable_numpy_behavior()
observations, rng = gym.spaces.Box(-1, 1, (4,), np.float32), np.random.default_rng(0)
CASES = [
    ("PPO", {"update_epochs": 2, "target_kl": 0.05, "clip_values": True}),
    ("A2C", {"entropy_cost": 0.1}),
    ("REINFORCE", {"baseline": True}),
    ("DQN", {"double": True, "dueling": True}),
    ("SAC", {}), ("DDPG", {}), ("TD3", {}), ("D4PG", {}),
]
for name, options in CASES:
    continuous = name in ("PPO", "SAC", "DDPG", "TD3", "D4PG")
    actions = gym.spaces.Box(0, 300, (2,), np.float32) if continuous else gym.spaces.Discrete(2)
    env = lambda: kerasrl.testing.RandomEnv(observations, actions)
    agent = getattr(kerasrl, name)(normalize_observations=True, **options)
    agent.compile(run_eagerly=True)
    collector = Collect(warmup_steps=64)
    if name in ("PPO", "A2C", "REINFORCE"):
        collector = CollectEpisodes(2, 200) if name == "REINFORCE" else CollectRollouts(8)
    history = agent.fit(
        env, steps_per_epoch=2, batch_size=None if name in ("A2C", "REINFORCE") else 8,
        callbacks=[collector], verbose=0,
    ).history
    assert all(np.isfinite(values).all() for key, values in history.items() if "loss" in key)
    assert agent(np.zeros((3, 4), np.float32)).numpy().dtype == actions.dtype
    print(name, "trains")
"""


@pytest.mark.thorough
@pytest.mark.regression(23)
def test_every_agent_trains(run_python):
    output = run_python(SCRIPT)
    for name in ("PPO", "A2C", "REINFORCE", "DQN", "SAC", "DDPG", "TD3", "D4PG"):
        assert f"{name} trains" in output
