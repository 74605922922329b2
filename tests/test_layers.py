"""Holds the layers: which part of kerasrl may import which, read from the source of every file."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent

# What every layer may import of kerasrl, and what each may besides. One that is not here is free.
COMMON = {"arguments", "errors", "native_log", "notes", "warning"}
ALLOWED = {
    # The ground: files, numbers, environments.
    "files": COMMON,
    "losses": COMMON,
    "networks": COMMON,
    "envs": COMMON,
    # What is kept and exported.
    "saving": COMMON | {"files", "version"},
    "export": COMMON | {"envs", "files", "saving", "version"},
    # What acts, what is stored, and what a run is made of.
    "policies": COMMON | {"envs", "export"},
    "experience": COMMON | {"envs", "policies"},
    "replay": COMMON | {"envs", "experience", "files"},
    "run": COMMON | {"envs"},
    "checkpoints": COMMON | {"files", "run", "saving", "version"},
    "callbacks": COMMON
    | {"checkpoints", "envs", "experience", "export", "files", "policies", "replay", "run"},
    # What `fit` does, and the agents.
    "training": COMMON
    | {"callbacks", "checkpoints", "envs", "networks", "policies", "replay", "run", "saving"},
    "agents": COMMON | {"callbacks", "losses", "networks", "replay", "training"},
    "plotting": COMMON,
    "arguments": {"errors"},
    "errors": set(),
    "native_log": set(),
    "notes": {"errors"},
    "version": set(),
    "warning": set(),
    "_python": set(),
    "_stack": COMMON | {"_python"},
}

# The file that joins the two sides.
ALSO_ALLOWED = {"kerasrl/agents/agent.py": {"experience"}}

PRIVATE = ("tensorflow.python", "keras.src")


def imported_names(source: str, path: str) -> Iterator[tuple[int, str]]:
    """Yields the line and the absolute dotted name of everything that a file imports.

    Imports within functions and under `if TYPE_CHECKING` count as any other.

    Args:
        source: The text of the file.
        path: Its path from the root of the repository, such as "kerasrl/agents/sac.py".
    """
    package = PurePosixPath(path).parts[:-1]
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            # One dot is the file's own package, each further dot the package above.
            start = package[: len(package) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield node.lineno, ".".join([*start, *filter(None, [node.module]), alias.name])


def violations(source: str, path: str) -> list[str]:
    """Lists what a file imports against the rules, one sentence each."""
    layer = PurePosixPath(path).parts[1].removesuffix(".py")
    allowed = None
    if layer in ALLOWED:
        allowed = ALLOWED[layer] | ALSO_ALLOWED.get(path, set()) | {layer}
    found = []
    for line, name in imported_names(source, path):
        if any(f"{name}.".startswith(f"{private}.") for private in PRIVATE):
            found.append(f"{path}:{line} imports {name}, which is private.")
        first, _, rest = name.partition(".")
        if first == "kerasrl" and allowed is not None and rest.split(".")[0] not in allowed:
            found.append(f"{path}:{line} imports {name}; it may import {sorted(allowed)}.")
    return found


PATHS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("kerasrl/**/*.py"))


def test_files_are_found():
    assert "kerasrl/errors.py" in PATHS


@pytest.mark.parametrize("path", PATHS)
def test_imports(path):
    assert violations((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kerasrl/losses/td.py", "import kerasrl"),
        ("kerasrl/losses/td.py", "import kerasrl.networks"),
        ("kerasrl/losses/td.py", "import kerasrl.networks.mlp as mlp"),
        ("kerasrl/losses/td.py", "from kerasrl import SAC"),
        ("kerasrl/losses/td.py", "from kerasrl import *"),
        ("kerasrl/losses/td.py", "from .. import networks"),
        ("kerasrl/losses/td.py", "from ..networks import MLP"),
        ("kerasrl/losses/__init__.py", "from ..networks import MLP"),
        ("kerasrl/losses/deeper/td.py", "from ...networks import MLP"),
        ("kerasrl/networks/mlp.py", "from kerasrl.losses import td"),
        ("kerasrl/envs/make.py", "from kerasrl.replay import Uniform"),
        ("kerasrl/replay/uniform.py", "from kerasrl.policies import Policy"),
        ("kerasrl/export/export.py", "from kerasrl.agents import Agent"),
        ("kerasrl/callbacks/collect.py", "from kerasrl.agents import Agent"),
        ("kerasrl/callbacks/collect.py", "from kerasrl.losses import td"),
        ("kerasrl/agents/sac.py", "from kerasrl.policies import Policy"),
        ("kerasrl/agents/sac.py", "def f():\n    from kerasrl.envs import make"),
        ("kerasrl/agents/deeper/agent.py", "from kerasrl.envs import make"),
        ("kerasrl/agents/agent.py", "from kerasrl.testing import Chain"),
        ("kerasrl/errors.py", "from kerasrl.envs import make"),
        ("kerasrl/losses/td.py", "import tensorflow.python.ops"),
        ("kerasrl/losses/td.py", "from tensorflow.python.framework import ops"),
        ("kerasrl/testing.py", "from tensorflow import python"),
        ("kerasrl/__init__.py", "import keras.src.engine as engine"),
        ("kerasrl/saving/save.py", "if True:\n    from keras.src.saving import saving_lib"),
    ],
)
def test_a_broken_rule_is_found(path, source):
    (violation,) = violations(source, path)
    assert violation.startswith(f"{path}:{source.count(chr(10)) + 1} imports ")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("kerasrl/__init__.py", "from kerasrl.agents import SAC"),
        ("kerasrl/testing.py", "from kerasrl import agents"),
        ("kerasrl/losses/td.py", "from kerasrl.errors import KerasRLError"),
        ("kerasrl/losses/td.py", "from kerasrl import errors"),
        ("kerasrl/losses/td.py", "from ..errors import KerasRLError"),
        ("kerasrl/losses/td.py", "from . import multistep"),
        ("kerasrl/losses/td.py", "from .multistep import returns"),
        ("kerasrl/losses/__init__.py", "from .td import q_learning"),
        ("kerasrl/losses/__init__.py", "from kerasrl.losses.td import q_learning"),
        ("kerasrl/losses/td.py", "import keras\nimport tensorflow as tf\nimport kerasrl_other"),
        ("kerasrl/losses/td.py", "from keras.srcs import x\nimport tensorflow.pythonic"),
        ("kerasrl/replay/uniform.py", "from kerasrl.envs import Spec"),
        ("kerasrl/export/export.py", "from kerasrl.envs import Spec"),
        ("kerasrl/callbacks/collect.py", "from kerasrl import envs, errors, policies, replay"),
        ("kerasrl/agents/sac.py", "from kerasrl import callbacks, errors, losses, networks"),
        ("kerasrl/agents/agent.py", "from kerasrl import losses, replay"),
        ("kerasrl/training/run.py", "from ..replay import Uniform"),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert violations(source, path) == []
