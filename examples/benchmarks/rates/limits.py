"""What the machine itself can do, so that rates mean something; see `compare.py`."""

import json
import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import tensorflow as tf

import kerasrl  # noqa: F401  Registers the Minitaur.


def per_second(work: Callable[[], object], seconds: float = 2.0) -> float:
    """How often a second something can be done."""
    work()
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)


def product(size: int, times: int) -> float:
    """GFLOP/s of TensorFlow in products of square float32 matrices."""
    matrix = tf.random.normal((size, size))

    @tf.function
    def products() -> tf.Tensor:
        result = matrix
        for _ in range(times):
            result = tf.matmul(matrix, result) / size
        return result

    return per_second(lambda: products().numpy()) * times * 2 * size**3 / 1e9


def env_steps(name: str) -> float:
    """Steps per second of an environment alone."""
    env = gym.make(name)
    env.reset(seed=0)
    action = env.action_space.sample()

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return per_second(step)


def copies() -> float:
    """GB/s of NumPy, copying 64 MB."""
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    return per_second(lambda: np.copyto(target, source)) * source.nbytes / 1e9


def main() -> None:
    """Prints them as a line of JSON."""
    limits = {
        "gflops_256": product(256, 50),
        "gflops_2048": product(2_048, 2),
        "cartpole_steps": env_steps("CartPole-v1"),
        "pendulum_steps": env_steps("Pendulum-v1"),
        "minitaur_steps": env_steps("kerasrl/MinitaurBullet-v0"),
        "copied_gb": copies(),
    }
    print(json.dumps({name: round(value, 1) for name, value in limits.items()}))


if __name__ == "__main__":
    main()
