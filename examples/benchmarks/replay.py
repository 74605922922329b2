"""Throughput and memory of the replay: 17 observations, 6 actions, batches of 256.

Prints one JSON line: transitions inserted and sampled per second, and resident memory per byte of
stored transitions.
"""

import argparse
import json
import time

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl import envs, replay

BATCH_SIZE = 256


def resident_bytes() -> int:
    """Memory of this process, in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def insert(store: replay.Uniform, count: int) -> float:
    """Inserts transitions as 32 environments would; returns them per second."""
    rng = np.random.default_rng(0)
    rows = store.packer.rows(32)
    began = time.perf_counter()
    for _ in range(count // len(rows)):
        for field in rows.dtype.names:
            rows[field] = rng.random(rows[field].shape, np.float32)
        store.insert(rows)
    store.flush()
    return count / (time.perf_counter() - began)


def sample(store: replay.Uniform, batches: int) -> float:
    """Draws batches in a graph, as training does; returns transitions per second."""
    iterator = iter(store.dataset(BATCH_SIZE))

    @tf.function
    def draw(count: tf.Tensor) -> tf.Tensor:
        total = 0.0
        for _ in tf.range(count):
            total += next(iterator)["reward"][0]
        return total

    draw(tf.constant(100))
    began = time.perf_counter()
    draw(tf.constant(batches))
    return batches * BATCH_SIZE / (time.perf_counter() - began)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=10_000)
    args = parser.parse_args()
    spec = envs.EnvSpec(
        gym.spaces.Box(-1, 1, (17,), np.float32), gym.spaces.Box(-1, 1, (6,), np.float32)
    )
    with replay.Uniform(args.transitions) as store:
        store.open(replay.transition_spec(spec))
        insert(store, 10_000)
        before = resident_bytes()
        inserted = insert(store, args.transitions - 10_000)
        stored = (args.transitions - 10_000) * store.packer.dtype.itemsize
        memory = (resident_bytes() - before) / stored
        sampled = sample(store, args.batches)
    figures = {"inserted_per_second": round(inserted), "sampled_per_second": round(sampled)}
    print(json.dumps({**figures, "memory_per_raw_byte": round(memory, 2)}))


if __name__ == "__main__":
    main()
