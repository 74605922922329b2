"""Environment steps per second of both stores, and of the other stack, in turn.

    python examples/benchmarks/stacks.py --other-python path/to/python

That is the interpreter of an environment with kerasrl on the other stack; without it, the stores
that are here are compared. Each run trains once in a process of its own; what is timed is the
second half. One JSON line a task has the medians, by the versions of TensorFlow and the stores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

TASKS = {"sac": 4_800, "dqn": 24_000, "ppo": 131_072}  # Environment steps.


def measure(task: str, store: str) -> dict[str, Any]:
    """Trains, and returns the environment steps per second, by where they were taken."""
    import tensorflow as tf

    import kerasrl

    steps = TASKS[task]
    if task == "ppo":
        agent, env, own = kerasrl.PPO(), "CartPole-v1", []
        replay: Any = kerasrl.replay.Queue(store=store)
    else:
        agent = kerasrl.SAC() if task == "sac" else kerasrl.DQN()
        env = "Pendulum-v1" if task == "sac" else "CartPole-v1"
        own = [kerasrl.callbacks.Collect(1, steps // 8)]
        replay = kerasrl.replay.Uniform(store=store)
    agent.compile()
    with replay:
        history = agent.fit(
            env, env_steps=steps, epochs=2, replay=replay, callbacks=own, verbose=0, seed=0
        )
    rate = history.history["env_steps_per_second"][-1]
    return {"side": f"TensorFlow {tf.__version__}, {replay.store}", "rate": rate}


def run(python: str, task: str, store: str) -> tuple[str, float]:
    """Runs one measurement in a process of its own."""
    command = [python, __file__, "--run", task, "--store", store]
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ)
    result = json.loads(output.stdout.splitlines()[-1])
    return result["side"], result["rate"]


def main() -> None:
    """Measures all sides in turn, and prints their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other-python")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--run", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--store", default="auto", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(measure(args.run, args.store)))
        return
    sides = [(sys.executable, "auto"), (sys.executable, "local")]
    sides += [(args.other_python, "auto")] if args.other_python else []
    for task in args.tasks:
        rates: dict[str, list[float]] = {}
        for _ in range(args.repeats):
            for python, store in sides:
                side, rate = run(python, task, store)
                rates.setdefault(side, []).append(rate)
        medians = {side: round(statistics.median(found)) for side, found in rates.items()}
        print(json.dumps({"task": task, **medians}), flush=True)


if __name__ == "__main__":
    main()
