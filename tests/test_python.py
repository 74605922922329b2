"""What the README's commands say before anything is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kerasrl import _python

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "kerasrl/_python.py"


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
@pytest.mark.parametrize(
    ("system", "machine"),
    [("Linux", "x86_64"), ("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64")],
)
def test_a_python_that_fits(minor, system, machine):
    assert _python.problem((3, minor), system, machine) == ""


@pytest.mark.regression(43)
@pytest.mark.parametrize("minor", [9, 14])
def test_another_python_is_one_sentence_that_says_what_to_install(minor):
    message = _python.problem((3, minor), "Linux", "x86_64")
    assert "kerasrl needs Python 3.10 to 3.13, " in message
    assert f"this is Python 3.{minor} on Linux x86_64" in message
    assert "uv python install 3.13" in message and "\n" not in message


def test_this_python_may_go_on():
    result = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def other_pythons():
    """Interpreters of other versions on this machine, those of a version manager among them."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for minor in (6, 7, 8, 9, 14):
        found = shutil.which(f"python3.{minor}")
        for python in [*([found] if found else []), *root.glob(f"3.{minor}.*/bin/python")]:
            if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
                yield python


def test_other_interpreters_run_it():
    pythons = list(other_pythons())
    for python in pythons:
        result = subprocess.run([python, SCRIPT], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "kerasrl needs Python 3.10 to 3.13" in result.stderr
    if not pythons:
        pytest.skip("there is no Python here but those that fit")


def test_the_commands_of_the_readme_ask_first():
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 ")]
    assert len(commands) == 2
    assert all(line.startswith("python3 kerasrl/_python.py && ") for line in commands)
