"""Putting the state of a saved agent into one that is there already."""

import json
import os
from typing import Any

import keras

from kerasrl.errors import AgentStateError, MismatchError
from kerasrl.files.archive import read_archive
from kerasrl.files.differences import compare, table
from kerasrl.saving.description import describe, learning_rates
from kerasrl.saving.forms import canonical
from kerasrl.saving.loading import reading
from kerasrl.saving.saved import Saved
from kerasrl.saving.untrusted.hdf5 import read_arrays
from kerasrl.saving.versions import check_versions
from kerasrl.saving.weights import is_compiled, make_slots, matched, put


def restore(agent: Saved, path: str | os.PathLike[str]) -> None:
    """Sets an agent's variables to those of the file, its optimizers' and learning rates included.

    The file is not trusted, and nothing is made of what it says. No variable is touched unless the
    file is of the same agent: class, arguments, networks, spaces, optimizers and their settings.

    Args:
        agent: built and compiled agent.
        path: str or path of the `.keras` file that `agent.save` wrote.

    Raises:
        AgentStateError: when the agent is not built and compiled.
        LoadError: when the file cannot be read, or holds something else.
        MismatchError: when it is of another agent, or a newer version; it lists the differences.
    """
    if not agent.built or not is_compiled(agent):
        raise AgentStateError(
            f"restore needs an agent that is built and compiled; this {type(agent).__name__} is "
            "not. Call build(env) and compile() first, or load the file with kerasrl.load."
        )
    make_slots(agent)
    with reading(path):
        archive = read_archive(path)
        check_versions(archive)
        arrays = read_arrays(archive.weights)
        there = canonical(archive.config)
        _check_same(agent, there)
        rates = learning_rates(there)
        put(agent, matched(agent, arrays))
        for name in rates.keys() & agent.optimized_variables().keys():
            getattr(agent, name).learning_rate = rates[name]


def check_same(agent: Saved, path: str | os.PathLike[str]) -> None:
    """Compares an agent with the one in a file, as `restore` does, and changes nothing.

    Raises:
        LoadError: when the file cannot be read, or holds something else.
        MismatchError: when it is of another agent, or a newer version; it lists the differences.
    """
    with reading(path):
        archive = read_archive(path)
        check_versions(archive)
        _check_same(agent, canonical(archive.config))


def _check_same(agent: Saved, there: dict[str, Any]) -> None:
    here = canonical(json.loads(json.dumps(keras.saving.serialize_keras_object(agent))))
    rows = compare(describe(here), describe(there))
    others = [row for row in rows if row[0] == "class"] or rows
    if others:
        raise MismatchError(f"it was saved from another agent than this:\n{table(others)}")
