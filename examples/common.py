"""What every example does around its story: the options, and the JSON line at the end."""

import argparse
import json
import time

import kerasrl


class Story:
    """Parses `--seed` and `--env-steps`, and reports how the run went.

    Args:
        description: str, the example's docstring.
        env_steps: int, the default length of the run.
    """

    def __init__(self, description: str, env_steps: int):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--seed", type=int, default=None)
        parser.add_argument("--env-steps", type=int, default=env_steps)
        arguments = parser.parse_args()
        self.seed, self.env_steps = arguments.seed, arguments.env_steps
        self._started = time.perf_counter()

    def report(self, agent: kerasrl.Agent, env: str) -> None:
        """Prints environment steps, seconds so far, and the return of 20 greedy episodes."""
        seconds = time.perf_counter() - self._started
        results = agent.evaluate(env, episodes=20, seed=self.seed, verbose=0, return_dict=True)
        figures = {"env_steps": int(agent.env_steps.numpy()), "seconds": round(seconds, 1)}
        score = round(results["episode_return"], 1)
        print(json.dumps({**figures, "val_episode_return": score}))
