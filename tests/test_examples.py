"""Every example runs, in a shortened form, and ends with its JSON line; slow: each learns."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
STORIES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "common")
SLOW = {
    "d4pg_cartpole_balance",
    "d4pg_mountain_car",
    "ddpg_pendulum",
    "sac_minitaur",
    "td3_pendulum",
}

LEFT_OVER = {
    "a2c_cartpole": (1120, 1120),
    "ppo_cartpole": (1280, 1280),
    "reinforce_cartpole": (1100, 1499),
}


def run(name, directory, *options):
    """Runs an example in a process of its own, and returns what its last line says."""
    process = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *options],
        cwd=directory,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture
def run_here(monkeypatch, tmp_path, capsys, short_pendulum):
    """Runs an example in this process, which saves the time of its imports."""

    def run(name, *options):
        monkeypatch.setattr(sys, "argv", [name, *map(str, options)])
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in STORIES]
)
def test_runs(name, run_here, tmp_path):
    history = tmp_path / "history.json"
    shortened = ["--env-steps", "1100", "--episodes", "2"]
    result = run_here(name, "--seed", "0", *shortened, "--history", history)
    assert list(result) == [
        "env_steps",
        "seconds",
        "val_episode_return",
        "random_episode_return",
    ]
    # The last rollout is a whole one, and so is the last episode.
    least, most = LEFT_OVER.get(name, (1100, 1100))
    assert least <= result["env_steps"] <= most
    assert json.loads(history.read_text())["env_steps"][-1] == result["env_steps"]
    if name == "quickstart":
        assert (tmp_path / "quickstart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", STORIES)
def test_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", ["0", "1", "2"])
@pytest.mark.parametrize(
    ("name", "env_steps", "score"),
    [
        ("a2c_cartpole", 500_000, 475.0),
        ("d4pg_cartpole_balance", 50_000, 980.0),
        ("d4pg_mountain_car", 100_000, 93.0),
        ("ddpg_pendulum", 20_000, -170.0),
        ("dqn_cartpole", 50_000, 475.0),
        ("ppo_cartpole", 100_000, 500.0),
        ("reinforce_cartpole", 100_000, 195.0),
        ("sac_pendulum", 20_000, -170.0),
        ("td3_pendulum", 20_000, -170.0),
    ],
)
def test_learns(name, env_steps, score, seed, tmp_path):
    result = run(name, tmp_path, "--seed", seed)
    assert result["env_steps"] <= env_steps
    assert result["val_episode_return"] >= score
