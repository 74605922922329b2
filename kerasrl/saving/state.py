"""The variables of a nest of Keras's objects, by names that are the same with Keras 2 and Keras 3.

They are those that Keras 2.15 gives them in its files: the attributes that lead to an object, such
as `layers/dense`, then `vars`, and what the object itself calls a variable. What is in a list or a
dict goes by its class. Files travel between the two for that reason. What Keras 3 alone keeps as
variables is the state of random numbers, whose names end in `state`, and learning rates, which are
in an optimizer's config, too, and left out.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrl.compatibility import RANDOM_STATES, STATEFUL, variables_of
from kerasrl.errors import SaveError

# What every layer has leads nowhere, or where other attributes lead; some of it warns. Keras 3 has
# operations, which are a network's layers and those within them, and a loss that it tracks.
_UNVISITED = frozenset(dir(keras.layers.Layer())) - {"metrics"} | {
    "operations",
    "state_updates",
    "_loss_tracker",
}
_LISTED = (keras.optimizers.Optimizer, keras.metrics.Metric)


def arrays(root: keras.Model) -> dict[str, np.ndarray]:
    """Copies the variables of all objects that an object leads to.

    Returns:
        dict from names, such as `"layers/dense/vars/0"`, to the arrays.
    """
    return {
        f"{path}{key}": np.array(value.numpy() if hasattr(value, "numpy") else value)
        for path, owner in _owners(root, "", set())
        for key, value in _own(owner).items()
    }


def assign(root: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Sets the variables of all objects that an object leads to.

    Args:
        root: the object.
        values: dict as `arrays` gives it. What it lacks stays as it is.
    """
    for path, owner in _owners(root, "", set()):
        own = {key: f"{path}{key}" for key in _own(owner)}
        if own and all(name in values for name in own.values()):
            _set_own(owner, {key: values[name] for key, name in own.items()})


def is_random(name: str) -> bool:
    """Whether a name is that of a state of random numbers."""
    return name.endswith("/state")


def check_no_assets(root: keras.Model) -> None:
    """Refuses what keeps more than variables.

    Raises:
        SaveError: when an object that `root` leads to has files of its own, such as a vocabulary.
    """
    for _, owner in _owners(root, "", set()):
        if hasattr(owner, "save_assets"):
            with tempfile.TemporaryDirectory() as directory:
                owner.save_assets(directory)
                if any(Path(directory).iterdir()):
                    raise SaveError(
                        f"the {type(owner).__name__} {owner.name} keeps files of its own, which no "
                        "agent's file has. Give it what it has learnt, such as its vocabulary, as "
                        "an argument."
                    )


def _owners(owner: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    """All objects with variables, each once, with what the names of its variables begin with."""
    if id(owner) in visited:
        return
    visited.add(id(owner))
    yield path, owner
    for name in sorted(dir(owner), reverse=True):
        if name.startswith("__") or name in _UNVISITED:
            continue
        try:
            value = getattr(owner, name)
        except Exception:  # A property that has no value yet.
            continue
        if isinstance(value, STATEFUL):
            yield from _owners(value, f"{path}{name}/", visited)
        elif isinstance(value, list | tuple | dict | set):
            yield from _owners_in(value, f"{path}{name}/", visited)


def _owners_in(container: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    values = container.values() if isinstance(container, dict) else container
    used: dict[str, int] = {}
    for value in list(values):
        if not isinstance(value, STATEFUL) or id(value) in visited:
            continue
        name = _snake_case(type(value).__name__)
        used[name] = used.get(name, -1) + 1
        number = f"_{used[name]}" if used[name] else ""
        yield from _owners(value, f"{path}{name}{number}/", visited)


def _own(owner: Any) -> dict[str, Any]:
    """The variables of an object itself, by their names within it."""
    if isinstance(owner, RANDOM_STATES):
        return {"state": owner.state}
    if isinstance(owner, _LISTED):
        return {f"vars/{i}": variable for i, variable in enumerate(_listed(owner))}
    store: dict[str, Any] = {}
    if hasattr(owner, "save_own_variables"):
        owner.save_own_variables(store)
    return {f"vars/{key}": value for key, value in store.items()}


def _set_own(owner: Any, values: dict[str, np.ndarray]) -> None:
    if isinstance(owner, RANDOM_STATES):
        owner.state.assign(values["state"])
    elif isinstance(owner, _LISTED):
        for variable, value in zip(_listed(owner), values.values(), strict=True):
            variable.assign(value)
    else:
        owner.load_own_variables({key.removeprefix("vars/"): v for key, v in values.items()})


def _listed(owner: Any) -> list[Any]:
    """The variables of an optimizer or a metric, which Keras 3 does not save."""
    return variables_of(owner) if isinstance(owner, keras.optimizers.Optimizer) else owner.variables


def _snake_case(name: str) -> str:
    """The name of a class as Keras writes it in files."""
    parted = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    snake = re.sub("([a-z])([A-Z])", r"\1_\2", parted).lower()
    return f"private{snake}" if snake.startswith("_") else snake
