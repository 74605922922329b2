"""What kerasrl does in a second, of one task; see `compare.py`.

    python examples/benchmarks/rates/of_kerasrl.py sac_pendulum

The last line is a rate: environment steps per second in the second half of a run, or gradient steps
of `reinforce_cartpole`. Nothing is set for speed.
"""

import sys
import time
from typing import Any

import gymnasium as gym
import keras

import kerasrl
from kerasrl.callbacks import Collect, CollectEpisodes, CollectRollouts, TargetUpdate

WARMUP = 1_000


def rate(agent: kerasrl.Agent, env: str, env_steps: int, **arguments: Any) -> float:
    """Environment steps per second of the second of two epochs."""
    history = agent.fit(env, env_steps=env_steps, epochs=2, verbose=0, **arguments)
    return history.history["env_steps_per_second"][-1]


def mlp(units: tuple[int, ...], x: Any) -> Any:
    """Layers with ReLU."""
    for width in units:
        x = keras.layers.Dense(width, "relu")(x)
    return x


def sac(env: str, env_steps: int) -> float:
    """SAC as in its paper: 256-256, batches of 256, one update for each environment step."""
    agent = kerasrl.SAC()
    agent.compile()
    return rate(agent, env, env_steps, callbacks=[Collect(1, WARMUP)])


def deterministic(agent_class: type) -> float:
    """TD3 or DDPG: 400-300, batches of 256, one update for each environment step."""
    observation, action = keras.Input((3,)), keras.Input((1,))
    actor = 2.0 * keras.layers.Dense(1, "tanh")(mlp((400, 300), observation))
    joint = keras.layers.Concatenate()([observation, action])
    critic = keras.layers.Dense(1)(mlp((400, 300), joint))
    agent = agent_class(keras.Model(observation, actor), keras.Model([observation, action], critic))
    agent.compile()
    return rate(agent, "Pendulum-v1", 6_000, batch_size=256, callbacks=[Collect(1, WARMUP)])


def dqn() -> float:
    """DQN with the defaults of Stable-Baselines3."""
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu")]
    network = keras.Sequential([*layers, keras.layers.Dense(2)])
    agent = kerasrl.DQN(network, double=False, n_step=1)
    agent.compile(keras.optimizers.Adam(1e-4, global_clipnorm=10.0))
    callbacks = [Collect(4, WARMUP), TargetUpdate(2_500)]
    return rate(agent, "CartPole-v1", 60_000, batch_size=32, callbacks=callbacks)


def ppo_of_eight() -> float:
    """PPO in 8 environments, with the settings of Stable-Baselines3's zoo for CartPole."""
    agent = kerasrl.PPO(discount=0.98, gae_lambda=0.8, update_epochs=20)
    agent.compile(keras.optimizers.Adam(1e-3, epsilon=1e-5, global_clipnorm=0.5))
    arguments = {"num_envs": 8, "batch_size": 256, "callbacks": [CollectRollouts(32)]}
    return rate(agent, "CartPole-v1", 102_400, **arguments)


def ppo_of_one() -> float:
    """PPO with its defaults."""
    agent = kerasrl.PPO()
    agent.compile()
    return rate(agent, "CartPole-v1", 49_152)


def reinforce() -> float:
    """REINFORCE on two episodes an update, as in the tutorial of TF-Agents."""
    agent = kerasrl.REINFORCE()
    agent.compile(keras.optimizers.Adam(1e-3))
    began, updates = time.perf_counter(), 250
    agent.fit(
        lambda: gym.make("CartPole-v1", max_episode_steps=200),
        epochs=1,
        steps_per_epoch=updates,
        callbacks=[CollectEpisodes(episodes=2, max_steps=200)],
        verbose=0,
    )
    return updates / (time.perf_counter() - began)


TASKS = {
    "sac_pendulum": lambda: sac("Pendulum-v1", 6_000),
    "td3_pendulum": lambda: deterministic(kerasrl.TD3),
    "ddpg_pendulum": lambda: deterministic(kerasrl.DDPG),
    "dqn_cartpole": dqn,
    "ppo_cartpole_8": ppo_of_eight,
    "ppo_cartpole_1": ppo_of_one,
    "sac_minitaur": lambda: sac("kerasrl/MinitaurBullet-v0", 4_000),
    "reinforce_cartpole": reinforce,
}

if __name__ == "__main__":
    print(TASKS[sys.argv[1]]())
