"""Rates against Stable-Baselines3, SBX and TF-Agents: all tasks, in turn, several times.

    python examples/benchmarks/compare.py --sb3 PYTHON --sbx PYTHON --tf-agents PYTHON

The peers do not fit into one environment with kerasrl. Each option is the interpreter of one that a
peer is in; those without are left out. Into the first go `torch==2.13.0` and then
`stable-baselines3==2.9.2 gymnasium[classic-control]`, into the second `torch==2.13.0` and then
`sbx-rl==0.28.0 gymnasium[classic-control]`, into the third `tensorflow-cpu==2.15.1
dm-reverb==0.14.0 tensorflow-probability==0.23.0 tf-keras==2.15.1 gin-config pillow mock rlds
gym==0.23.0 pybullet==3.2.7 pygame setuptools<70`, and then `tf-agents==0.19.0` with `--no-deps`.

Every measurement is a process of its own. What is printed are medians, and how many times faster
kerasrl is. With --json the last line is JSON: ratios by task and peer, and the machine's limits.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

RATES = Path(__file__).parent / "rates"
OF_SB3 = ("sac_pendulum", "td3_pendulum", "ddpg_pendulum", "dqn_cartpole")
OF_SB3 += ("ppo_cartpole_8", "ppo_cartpole_1")
OF_TF_AGENTS = ("sac_minitaur", "reinforce_cartpole")
PEERS = {
    "sb3": (OF_SB3, ("of_sb3.py", "stable_baselines3")),
    "sbx": (OF_SB3, ("of_sb3.py", "sbx")),
    "tf_agents": (OF_TF_AGENTS, ("of_tf_agents.py",)),
}


def last_line(python: str, script: str, *arguments: str) -> str:
    """The last line that a script prints."""
    process = subprocess.run(
        [python, str(RATES / script), *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} failed:\n{process.stderr}")
    return process.stdout.splitlines()[-1]


def compare(task: str, peers: dict[str, str], repeats: int) -> dict[str, float]:
    """Measures all sides in turn, prints their medians, and returns the ratios by peer."""
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        rate = last_line(sys.executable, "of_kerasrl.py", task)
        rates.setdefault("kerasrl", []).append(float(rate))
        for peer, python in peers.items():
            rate = last_line(python, *PEERS[peer][1], task)
            rates.setdefault(peer, []).append(float(rate))
    medians = {side: statistics.median(found) for side, found in rates.items()}
    ratios = {peer: round(medians["kerasrl"] / medians[peer], 2) for peer in peers}
    told = ", ".join(f"{side} {median:.1f}" for side, median in medians.items())
    faster = ", ".join(f"{ratio} times {peer}" for peer, ratio in ratios.items())
    print(f"{task}: {told} a second" + (f"; {faster}" if faster else ""), flush=True)
    return ratios


def main() -> None:
    """Measures everything that was asked for."""
    tasks = [*OF_SB3, *OF_TF_AGENTS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for peer in PEERS:
        parser.add_argument(f"--{peer.replace('_', '-')}", metavar="PYTHON")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    there = {peer: getattr(args, peer) for peer in PEERS if getattr(args, peer)}
    for peer in PEERS.keys() - there.keys():
        print(f"{peer} is left out: --{peer.replace('_', '-')} names no interpreter.")
    limits = json.loads(last_line(sys.executable, "limits.py"))
    print(
        "the machine:", ", ".join(f"{name} {value}" for name, value in limits.items()), flush=True
    )
    ratios = {}
    for task in args.tasks:
        peers = {peer: python for peer, python in there.items() if task in PEERS[peer][0]}
        ratios[task] = compare(task, peers, args.repeats)
    if args.json:
        print(json.dumps({"ratios": ratios, "limits": limits}))


if __name__ == "__main__":
    main()
