"""What every example does around its story: the options, and the JSON line at the end."""

import argparse
import json
import math
import time
from typing import Any

import keras

import kerasrl


class Story:
    """Parses the options that every example has, and reports how the run went.

    Args:
        description: str, the example's docstring.
        env_steps: int, the default length of the run.
    """

    def __init__(self, description: str, env_steps: int):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--seed", type=int, default=None)
        parser.add_argument("--env-steps", type=int, default=env_steps)
        parser.add_argument("--episodes", type=int, default=20, help="to evaluate at the end")
        parser.add_argument("--history", help="JSON file to write what fit has logged to")
        arguments = parser.parse_args()
        self.seed, self.env_steps = arguments.seed, arguments.env_steps
        self._episodes, self._history = arguments.episodes, arguments.history
        self._started = time.perf_counter()

    def report(self, agent: kerasrl.Agent, env: Any, history: keras.callbacks.History) -> None:
        """Prints environment steps, seconds so far, and the mean returns of some episodes.

        Those are of the greedy policy, and of random actions to compare it with.

        Args:
            agent: the trained agent.
            env: where to evaluate it, as for `fit`.
            history: what `fit` returned.
        """
        seconds = time.perf_counter() - self._started
        if self._history:
            columns = {
                name: [None if math.isnan(value) else float(value) for value in values]
                for name, values in history.history.items()
            }
            with open(self._history, "w") as file:
                json.dump(columns, file)
        greedy, random = (
            kerasrl.evaluate(env, policy, episodes=self._episodes, seed=self.seed)["episode_return"]
            for policy in (agent, None)
        )
        figures = {
            "env_steps": int(agent.env_steps.numpy()),
            "seconds": round(seconds, 1),
            "val_episode_return": round(greedy, 2),
            "random_episode_return": round(random, 2),
        }
        print(json.dumps(figures))
