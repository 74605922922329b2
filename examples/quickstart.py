"""Trains SAC on the pendulum, evaluates it, and draws its learning curve.

Run it with `python examples/quickstart.py`; it takes about two minutes on two cores.
"""

import argparse
import json
import time

import keras
import matplotlib.pyplot as plt

import kerasrl


def main() -> None:
    """Trains, evaluates and plots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--env-steps", type=int, default=10_000)
    parser.add_argument("--plot", default="quickstart.png")
    args = parser.parse_args()

    started = time.perf_counter()
    agent = kerasrl.SAC()
    agent.compile(
        actor_optimizer=keras.optimizers.Adam(1e-3),
        critic_optimizer=keras.optimizers.Adam(1e-3),
        temperature_optimizer=keras.optimizers.Adam(1e-3),
        steps_per_execution=16,
    )
    history = agent.fit(
        "Pendulum-v1",
        env_steps=args.env_steps,
        validation_data="Pendulum-v1",
        seed=args.seed,
    )
    results = agent.evaluate(
        "Pendulum-v1", episodes=20, seed=args.seed, verbose=0, return_dict=True
    )

    curve = history.history
    plt.plot(curve["env_steps"], curve["episode_return"], label="while collecting")
    plt.plot(curve["env_steps"], curve["val_episode_return"], label="greedy")
    plt.xlabel("environment steps")
    plt.ylabel("episode return")
    plt.title("SAC on Pendulum-v1")
    plt.legend()
    plt.grid(alpha=0.3)
    plt.savefig(args.plot, dpi=150)
    print(f"The learning curve is in {args.plot}.")
    print(
        json.dumps(
            {
                "env_steps": int(curve["env_steps"][-1]),
                "seconds": round(time.perf_counter() - started, 1),
                "val_episode_return": round(results["episode_return"], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
