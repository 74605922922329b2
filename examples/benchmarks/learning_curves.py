"""Runs an example over several seeds, and draws what came out."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import kerasrl

EXAMPLES = Path(__file__).parent.parent


def run(example: str, seed: int, options: list[str]) -> tuple[dict, dict]:
    """Runs an example; returns what `fit` logged and the example's own JSON line."""
    with tempfile.TemporaryDirectory() as directory:
        history = Path(directory, "history.json")
        command = [sys.executable, EXAMPLES / f"{example}.py", "--seed", str(seed)]
        process = subprocess.run(
            [*command, "--history", history, *options],
            check=True,
            cwd=directory,
            stdout=subprocess.PIPE,
            text=True,
        )
        return json.loads(history.read_text()), json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    """Prints the JSON line of every seed, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", help="such as ppo_cartpole")
    parser.add_argument("picture", help="PNG file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--env-steps", type=int)
    arguments = parser.parse_args()
    options = ["--env-steps", str(arguments.env_steps)] if arguments.env_steps else []
    histories = []
    for seed in arguments.seeds:
        history, result = run(arguments.example, seed, options)
        histories.append(history)
        print(json.dumps({"example": arguments.example, "seed": seed, **result}), flush=True)
    baseline = {"random actions": result["random_episode_return"]}
    kerasrl.plot_history({arguments.example: histories}, arguments.picture, baseline=baseline)


if __name__ == "__main__":
    main()
