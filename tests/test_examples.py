"""Every example runs, in a shortened form, and ends with its JSON line; slow: each learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
STORIES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "common")


def run(name, directory, *options):
    process = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *options],
        cwd=directory,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", STORIES)
def test_runs(name, tmp_path):
    result = run(name, tmp_path, "--seed", "0", "--env-steps", "1100")
    assert result["env_steps"] == 1100
    assert set(result) == {"env_steps", "seconds", "val_episode_return"}


def test_quickstart_draws_a_curve(tmp_path):
    run("quickstart", tmp_path, "--env-steps", "1100")
    assert (tmp_path / "quickstart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", STORIES)
def test_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", ["0", "1", "2"])
@pytest.mark.parametrize(
    ("name", "env_steps", "score"),
    [("dqn_cartpole", 50_000, 475.0), ("sac_pendulum", 20_000, -170.0)],
)
def test_learns(name, env_steps, score, seed, tmp_path):
    result = run(name, tmp_path, "--seed", seed)
    assert result["env_steps"] <= env_steps
    assert result["val_episode_return"] >= score
