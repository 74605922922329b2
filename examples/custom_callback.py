"""A new callback: shrink the exploration of DQN only while it keeps improving."""

import argparse
import json
import time

import keras

import kerasrl


class ShrinkEpsilon(kerasrl.callbacks.LinearSchedule):
    """Halves epsilon whenever the return of an epoch beats all before.

    It is a `LinearSchedule` of `epsilon`, so it takes the place of the agent's own.
    """

    def __init__(self, start: float = 1.0, end: float = 0.05):
        super().__init__("epsilon", start, end, env_steps=1)
        self.best = float("-inf")
        self.current = start

    def value(self, position: int) -> float:
        """The epsilon to explore with, wherever in the run we are."""
        return self.current

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compares the epoch with the best one and logs epsilon."""
        if logs.get("episode_return", self.best) > self.best:
            self.best = logs["episode_return"]
            self.current = max(self.end, self.current / 2)
        logs["epsilon"] = self.current


def main() -> None:
    """Trains DQN on CartPole with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--env-steps", type=int, default=30_000)
    args = parser.parse_args()
    started = time.perf_counter()
    agent = kerasrl.DQN()
    agent.compile(steps_per_execution=16)
    best = keras.callbacks.EarlyStopping("val_episode_return", mode="max", patience=10)
    history = agent.fit(
        "CartPole-v1",
        env_steps=args.env_steps,
        epochs=30,
        validation_data="CartPole-v1",
        callbacks=[ShrinkEpsilon(), best],
        seed=args.seed,
    ).history
    seconds = round(time.perf_counter() - started, 1)
    env_steps, score = int(history["env_steps"][-1]), history["val_episode_return"][-1]
    print(json.dumps({"env_steps": env_steps, "seconds": seconds, "val_episode_return": score}))


if __name__ == "__main__":
    main()
