"""What Stable-Baselines3, or SBX, does in a second, of one task; see `compare.py`.

    path/to/python examples/benchmarks/rates/of_sb3.py stable_baselines3 sac_pendulum
    path/to/python examples/benchmarks/rates/of_sb3.py sbx sac_pendulum

It has the networks, batches and updates that kerasrl has in `of_kerasrl.py`, and takes turns as it
does: 16 updates after the environment steps that are due for them.
"""

import importlib
import sys
import time

from stable_baselines3.common.env_util import make_vec_env

TURN = 16
WARMUP = 1_000


def make(library: str, task: str) -> tuple:
    """The model, and the environment steps of half a run."""
    agents = importlib.import_module(library)
    if task == "ppo_cartpole_8":
        settings = {"n_steps": 32, "batch_size": 256, "n_epochs": 20}
        settings |= {"gae_lambda": 0.8, "gamma": 0.98, "learning_rate": 1e-3}
        env = make_vec_env("CartPole-v1", 8)
        return agents.PPO(
            "MlpPolicy", env, policy_kwargs={"net_arch": [64, 64]}, **settings
        ), 51_200
    if task == "ppo_cartpole_1":
        network = {"net_arch": [64, 64]}
        return agents.PPO("MlpPolicy", "CartPole-v1", policy_kwargs=network), 24_576
    if task == "dqn_cartpole":
        settings = {"learning_rate": 1e-4, "batch_size": 32, "target_update_interval": 10_000}
        settings |= {"train_freq": 4 * TURN, "gradient_steps": TURN, "learning_starts": WARMUP}
        network = {"net_arch": [64, 64]}
        return agents.DQN("MlpPolicy", "CartPole-v1", policy_kwargs=network, **settings), 30_000
    name = task.partition("_")[0].upper()
    network = {"net_arch": [256, 256] if name == "SAC" else [400, 300]}
    settings = {"train_freq": TURN, "gradient_steps": TURN, "learning_starts": WARMUP}
    agent = getattr(agents, name)
    return agent(
        "MlpPolicy", "Pendulum-v1", batch_size=256, policy_kwargs=network, **settings
    ), 3_000


def main() -> None:
    """Prints the environment steps per second of the second half."""
    model, steps = make(sys.argv[1], sys.argv[2])
    model.learn(steps)
    began, before = time.perf_counter(), model.num_timesteps
    model.learn(steps, reset_num_timesteps=False)
    print((model.num_timesteps - before) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
