"""Tries settings for the agents' defaults: over several seeds, each in a process of its own.

    python examples/benchmarks/defaults.py --agent dqn --env CartPole-v1 --env-steps 50000

One JSON line a run has the final return and the best one of the ten evaluations, each of 20 greedy
episodes; the last line has the interquartile mean of the final returns with a bootstrapped
confidence interval of 95 %, as Agarwal et al. (2021) recommend.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np

EPISODES = 20


def dqn(settings: dict[str, Any], env_steps: int) -> tuple[Any, dict[str, Any], list[Any]]:
    """A DQN, what it is compiled with, and its callbacks."""
    import keras

    import kerasrl
    from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate

    own = {name: settings[name] for name in ("double", "n_step", "discount") if name in settings}
    agent = kerasrl.DQN(**own)
    callbacks: list[Any] = []
    if "pace" in settings:
        callbacks.append(Collect(settings["pace"], settings.get("warmup", 1_000)))
    if "target" in settings:
        callbacks.append(TargetUpdate(1, settings["target"]))
    if "epsilon" in settings:
        steps = int(settings.get("exploring", 0.1) * env_steps)
        callbacks.append(LinearSchedule("epsilon", 1.0, settings["epsilon"], env_steps=steps))
    rate = settings.get("rate", 1e-3)
    if settings.get("falls"):
        schedule = ("optimizer.learning_rate", rate, 0.0)
        callbacks.append(LinearSchedule(*schedule, env_steps=env_steps))
    return agent, {"optimizer": keras.optimizers.Adam(rate)}, callbacks


def ppo(settings: dict[str, Any], env_steps: int) -> tuple[Any, dict[str, Any], list[Any]]:
    """A PPO, what it is compiled with, and its callbacks."""
    import keras

    import kerasrl
    from kerasrl.callbacks import CollectRollouts, LinearSchedule

    names = ("discount", "gae_lambda", "update_epochs", "entropy_cost", "normalize_observations")
    agent = kerasrl.PPO(**{name: settings[name] for name in names if name in settings})
    callbacks: list[Any] = [CollectRollouts(settings["length"])] if "length" in settings else []
    rate = settings.get("rate", 3e-4)
    if settings.get("falls"):
        schedule = ("optimizer.learning_rate", rate, 0.0)
        callbacks.append(LinearSchedule(*schedule, env_steps=env_steps))
    return agent, {"optimizer": keras.optimizers.Adam(rate, global_clipnorm=0.5)}, callbacks


def train(
    kind: str, env: str, env_steps: int, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Trains once, and returns what it came to."""
    import tensorflow as tf

    import kerasrl

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if settings:
        agent, compiled, callbacks = {"dqn": dqn, "ppo": ppo}[kind](settings, env_steps)
    else:
        agent, compiled, callbacks = getattr(kerasrl, kind.upper())(), {}, []
    agent.compile(**compiled)
    evaluation = kerasrl.callbacks.Evaluation(env, episodes=EPISODES, seed=10_000 + seed)
    arguments = {"batch_size": settings["batch"]} if "batch" in settings else {}
    history = agent.fit(
        env,
        env_steps=env_steps,
        callbacks=[*callbacks, evaluation],
        verbose=0,
        seed=seed,
        **arguments,
    )
    returns = history.history["val_episode_return"]
    return {"seed": seed, "final": round(returns[-1], 1), "best": round(max(returns), 1)}


def interquartile(finals: list[float]) -> dict[str, float]:
    """The interquartile mean of returns, and the ends of its confidence interval."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(finals, (10_000, len(finals)))
    low, high = np.percentile([_iqm(each) for each in drawn], [2.5, 97.5])
    return {"iqm": round(_iqm(finals), 1), "low": round(low, 1), "high": round(high, 1)}


def _iqm(values: Any) -> float:
    """The mean of the middle half, of values that count in part at its ends."""
    ordered, size = np.sort(values), len(values)
    edges = np.arange(size + 1) / size
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
    return float((ordered * weights).sum() / weights.sum())


def main() -> None:
    """Runs the seeds, some at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agent", required=True, help="dqn, ppo, sac or td3")
    parser.add_argument("--env", required=True)
    parser.add_argument("--env-steps", type=int, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON; {} for the defaults")
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only is not None:
        print(json.dumps(train(args.agent, args.env, args.env_steps, args.only, args.settings)))
        return

    def one(seed: int) -> dict[str, Any]:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", str(seed)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        line = output.splitlines()[-1]
        print(line, flush=True)
        return json.loads(line)

    with concurrent.futures.ThreadPoolExecutor(args.at_once) as pool:
        finals = [run["final"] for run in pool.map(one, args.seeds)]
    about = {"agent": args.agent, "env": args.env, "env_steps": args.env_steps}
    print(json.dumps({**about, "settings": args.settings, **interquartile(finals)}))


if __name__ == "__main__":
    main()
