"""Environment steps per second against Stable-Baselines3, in turn, with the same settings.

Stable-Baselines3 does not fit into one environment with kerasrl. Install it into another one
(`torch==2.13.0`, `stable-baselines3==2.9.2`, `gymnasium[classic-control]`) and run

    python examples/benchmarks/against_sb3.py --peer-python path/to/that/python

Each run trains once in a process of its own; what is timed is the second half. `sac` is Pendulum-v1
with the settings of the paper; `dqn` is CartPole-v1 with the defaults of Stable-Baselines3 (two
layers of 64, batches of 32, one update for every 4 steps). Both sides take turns between acting
and learning in the same way: with `--steps-per-execution k`, k updates follow the environment steps
that are due for them, on both.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

STEPS = {"sac": (1_000, 5_000), "dqn": (1_000, 30_000)}  # Warm-up, then what is timed.


def time_kerasrl(task: str, steps_per_execution: int) -> float:
    """Environment steps per second of kerasrl."""
    import keras

    import kerasrl

    warmup, timed = STEPS[task]
    if task == "sac":
        agent, env, batch_size = kerasrl.SAC(), "Pendulum-v1", 256
        agent.compile(steps_per_execution=steps_per_execution)
        own = [kerasrl.callbacks.Collect(1, warmup)]
    else:
        layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu")]
        q_network = keras.Sequential([*layers, keras.layers.Dense(2)])
        agent, env, batch_size = kerasrl.DQN(q_network), "CartPole-v1", 32
        agent.compile(
            keras.optimizers.Adam(1e-4, global_clipnorm=10.0),
            steps_per_execution=steps_per_execution,
        )
        own = [kerasrl.callbacks.Collect(4, warmup), kerasrl.callbacks.TargetUpdate(2_500)]
    clock = Clock(keras.callbacks.Callback)
    agent.fit(
        env,
        env_steps=warmup + timed,
        epochs=2,
        batch_size=batch_size,
        replay=kerasrl.replay.Uniform(capacity=1_000_000),
        callbacks=[*own, clock.callback],
        verbose=0,
    )
    return clock.rate(lambda: int(agent.env_steps.numpy()))


class Clock:
    """Times the second half of a run, when everything is traced."""

    def __init__(self, base: type):
        self.marks: list[tuple[float, int]] = []
        clock = self

        class Callback(base):
            def on_epoch_begin(self, epoch, logs=None):
                clock.marks.append((time.perf_counter(), int(self.model.env_steps.numpy())))

        self.callback = Callback()

    def rate(self, env_steps) -> float:
        """Environment steps per second since the last mark."""
        began, before = self.marks[-1]
        return (env_steps() - before) / (time.perf_counter() - began)


def time_sb3(task: str, steps_per_execution: int) -> float:
    """Environment steps per second of Stable-Baselines3."""
    from stable_baselines3 import DQN, SAC

    warmup, timed = STEPS[task]
    if task == "sac":
        model = SAC(
            "MlpPolicy",
            "Pendulum-v1",
            learning_starts=warmup,
            train_freq=steps_per_execution,
            gradient_steps=steps_per_execution,
        )
    else:
        model = DQN(
            "MlpPolicy",
            "CartPole-v1",
            learning_starts=warmup,
            target_update_interval=10_000,
            train_freq=4 * steps_per_execution,
            gradient_steps=steps_per_execution,
        )
    model.learn(warmup + timed // 2)
    began = time.perf_counter()
    model.learn(timed // 2, reset_num_timesteps=False)
    return timed // 2 / (time.perf_counter() - began)


def run(python: str, library: str, task: str, steps_per_execution: int) -> float:
    """Runs one measurement in a process of its own."""
    command = [python, __file__, "--run", library, "--task", task]
    command += ["--steps-per-execution", str(steps_per_execution)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output.splitlines()[-1])


def main() -> None:
    """Measures both libraries in turn and prints the ratio of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python")
    parser.add_argument("--task", choices=STEPS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--run", choices=["kerasrl", "sb3"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.run and not args.peer_python:
        parser.error("--peer-python is needed: the interpreter that Stable-Baselines3 is in")
    if args.run == "kerasrl":
        print(time_kerasrl(args.task, args.steps_per_execution))
    elif args.run == "sb3":
        print(time_sb3(args.task, args.steps_per_execution))
    else:
        for task in [args.task] if args.task else STEPS:
            ours, theirs = [], []
            for _ in range(args.repeats):
                ours.append(run(sys.executable, "kerasrl", task, args.steps_per_execution))
                theirs.append(run(args.peer_python, "sb3", task, args.steps_per_execution))
            medians = statistics.median(ours), statistics.median(theirs)
            result = {"task": task, "kerasrl": round(medians[0]), "sb3": round(medians[1])}
            print(json.dumps({**result, "ratio": round(medians[0] / medians[1], 2)}))


if __name__ == "__main__":
    main()
