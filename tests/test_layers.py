"""Holds the layers: which part of kerasrl may import which, read from the source of every file."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

# What every layer may import of kerasrl, and what each may besides. One that is not here is free.
COMMON = {
    "arguments",
    "compatibility",
    "errors",
    "native_log",
    "notes",
    "private",
    "system",
    "warning",
}
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
    "replay": COMMON | {"_stack", "envs", "experience", "files"},
    "run": COMMON | {"envs", "saving"},
    "checkpoints": COMMON | {"files", "run", "saving", "version"},
    "actors": COMMON | {"envs", "experience", "policies"},
    "callbacks": COMMON
    | {"actors", "checkpoints", "envs", "experience", "export", "files", "policies", "replay"}
    | {"run"},
    # What `fit` does, and the agents.
    "training": COMMON
    | {"callbacks", "checkpoints", "envs", "networks", "policies", "replay", "run", "saving"},
    "agents": COMMON | {"callbacks", "losses", "networks", "replay", "training"},
    "plotting": COMMON,
    "arguments": {"errors"},
    "compatibility": {"private"},
    "errors": set(),
    "native_log": {"system"},
    "notes": {"errors"},
    "private": set(),
    "system": set(),
    "version": set(),
    "warning": set(),
    "_python": set(),
    "_stack": COMMON | {"_python"},
}

# The file that joins the two sides.
ALSO_ALLOWED = {"kerasrl/agents/agent.py": {"experience"}}

PRIVATE = ("tensorflow.python", "keras.src", "reverb.cc", "reverb.platform", "reverb.pybind")

# The file that has what has no public name.
OF_PRIVATE_NAMES = "kerasrl/private.py"


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
        private = any(f"{name}.".startswith(f"{private}.") for private in PRIVATE)
        if private and path != OF_PRIVATE_NAMES:
            found.append(f"{path}:{line} imports {name}, which is private.")
        first, _, rest = name.partition(".")
        if first == "kerasrl" and allowed is not None and rest.split(".")[0] not in allowed:
            found.append(f"{path}:{line} imports {name}; it may import {sorted(allowed)}.")
    return found


# Private names of packages that are neither Keras nor Reverb.
OF_OTHERS = {
    # The environments of PyBullet say nowhere else how long a step is, nor where they are.
    "kerasrl/envs/suites/pybullet.py": {
        "_actionRepeat",
        "_action_repeat",
        "_attempted_grasp",
        "_p",
        "_racecar",
        "_timeStep",
        "_time_step",
    },
    "kerasrl/warning.py": {"_getframe"},  # Documented by Python, in spite of its name.
}


def private_names_of_keras() -> dict[type, frozenset[str]]:
    """The private attributes of the classes of Keras that kerasrl derives from."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile("adam", "mse")
    network.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    examples = {
        keras.Model: network,
        keras.layers.Layer: network.layers[0],
        keras.callbacks.Callback: network.history,
        keras.callbacks.CallbackList: keras.callbacks.CallbackList([], model=network),
    }
    return {kind: frozenset(filter(_is_private, dir(each))) for kind, each in examples.items()}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")


def private_attributes(
    source: str, path: str, classes: dict[str, type], of_keras: dict[type, frozenset[str]]
) -> list[str]:
    """Lists the private attributes that a file uses and that are not its own, a sentence each.

    Of `self` those are that a class has from Keras, of anything else those that the file does not
    define itself.
    """
    tree = ast.parse(source, path)
    own = {"_asdict", "_fields", "_replace", *OF_OTHERS.get(path, ())}  # Of named tuples.
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.attr for node in ast.walk(tree) if _of_self(node)}
    found = [
        (node.lineno, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not _of_self(node)
        if _is_private(node.attr) and node.attr not in own
    ]
    for node in ast.walk(tree):
        kind = classes.get(node.name) if isinstance(node, ast.ClassDef) else None
        if kind is not None:
            bases = [names for base, names in of_keras.items() if issubclass(kind, base)]
            found += _used_of_self(node, frozenset().union(*bases))
    return [f"{path}:{line} uses {name}, which is private elsewhere." for line, name in found]


def _used_of_self(definition: ast.ClassDef, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(definition):
        name = node.attr if _of_self(node) else getattr(node, "name", "")
        if name in names:
            yield node.lineno, name


def _of_self(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    )


PATHS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("kerasrl/**/*.py"))


def test_files_are_found():
    assert "kerasrl/errors.py" in PATHS


@pytest.mark.parametrize("path", PATHS)
def test_imports(path):
    assert violations((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.fixture(scope="module")
def of_keras():
    return private_names_of_keras()


@pytest.mark.parametrize("path", [path for path in PATHS if path != OF_PRIVATE_NAMES])
def test_private_attributes(path, of_keras):
    if path.startswith("kerasrl/replay/server/"):
        pytest.importorskip("reverb")
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    classes = vars(importlib.import_module(name))
    source = (ROOT / path).read_text(encoding="utf-8")
    assert private_attributes(source, path, classes, of_keras) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(agent): return agent._steps_per_execution",
        "def f(network): network._name = 'x'",
        "def f(optimizer): return optimizer._loss_scale.current_loss_scale",
        pytest.param(
            "class A(Model):\n    def f(self): return self._train_counter",
            marks=pytest.mark.keras_2,
        ),
        "class A(Model):\n    def f(self): self._losses = []",
        pytest.param(
            "class A(Model):\n    def _maybe_load_initial_counters_from_ckpt(self): pass",
            marks=pytest.mark.keras_2,
        ),
        pytest.param(
            "class A(CallbackList):\n    def f(self): self._check_timing = False",
            marks=pytest.mark.keras_2,
        ),
        "class A(CallbackList):\n    def f(self): super()._process_logs({})",
        pytest.param(
            "class A(Callback):\n    def f(self): self._chief_worker_only = True",
            marks=pytest.mark.keras_2,
        ),
    ],
)
def test_a_private_attribute_is_found(source, of_keras):
    (violation,) = private_attributes(source, "kerasrl/x.py", _classes(source), of_keras)
    assert violation.startswith(f"kerasrl/x.py:{source.count(chr(10)) + 1} uses _")


@pytest.mark.parametrize(
    "source",
    [
        "def f(step): return step._replace(reward=1)",
        "class A:\n    def f(self, other): self._mine = other._mine",
        "class A(Model):\n    def f(self): return self._actions",
        "class A(Callback):\n    def f(self): self._updates = 0",
        "def f(x): return x.__dict__",
    ],
)
def test_private_attributes_of_its_own_pass(source, of_keras):
    assert private_attributes(source, "kerasrl/x.py", _classes(source), of_keras) == []


def _classes(source):
    classes = {**vars(keras.callbacks), "Model": keras.Model}
    exec(source, classes)
    return classes


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
        ("kerasrl/replay/queue.py", "from reverb.cc import schema_pb2"),
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
