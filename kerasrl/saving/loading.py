"""Reading agents from files that need not be trusted."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasrl.errors import AgentStateError, KerasRLError, LoadError
from kerasrl.files.archive import read_archive, read_file
from kerasrl.saving.forms import canonical, native
from kerasrl.saving.saved import Saved
from kerasrl.saving.untrusted.configs import check_config
from kerasrl.saving.untrusted.hdf5 import read_arrays
from kerasrl.saving.untrusted.limits import bounded_variables, check_called, checking_calls
from kerasrl.saving.untrusted.preparing import prepared
from kerasrl.saving.versions import check_versions
from kerasrl.saving.weights import (
    make_slots,
    matched,
    put,
    with_own_mismatches,
    with_own_optimizers,
)
from kerasrl.saving.writing import agent_path, save_agent, weights_path

_LONGEST_REASON = 4000  # characters


def load(path: str | os.PathLike[str], custom_objects: dict[str, Any] | None = None) -> Any:
    """Loads an agent from a `.keras` file that `agent.save` wrote, safely.

    A file from a stranger cannot run code, read other files, or have much more memory allocated
    than it has bytes. It may name kerasrl's classes and the usual ones of Keras, and nothing else:
    no Lambda layers, of TensorFlow's operations between layers only plain ones, and nothing
    registered by others. `agent.save` refuses to write what cannot be loaded.

    Args:
        path: str or path of the file, or the name that `agent.save` was given.
        custom_objects: dict from names to classes and functions of yours, or further ones of Keras,
            that the file may name besides. What they do with what the file says is up to them.

    Returns:
        The agent as it was saved: built, compiled, with the state of its optimizers, its targets,
        its normalisers and its counters.

    Raises:
        LoadError: when the file cannot be read, is damaged, or holds something else.
        UnsafeFileError: when it holds what could run code, read other files or exhaust memory.
        MismatchError: when a newer version wrote it, or its parts do not fit one another.
    """
    path = _existing(path, agent_path)
    with reading(path):
        archive = read_archive(path)
        check_versions(archive)
        custom_objects = dict(custom_objects or {})
        config = canonical(archive.config)
        check_config(config, custom_objects)
        arrays = read_arrays(archive.weights)
        agent = _made(config, arrays, custom_objects)
        put(agent, matched(agent, arrays))
        return agent


def load_weights(agent: Saved, path: str | os.PathLike[str], skip_mismatch: bool = False) -> None:
    """Sets an agent's variables to those of a `.weights.h5` file, safely.

    An optimizer that either the agent or the file is without stays as it is.

    Args:
        agent: built agent.
        path: str or path of the file that `agent.save_weights` or `agent.save` wrote, or the name
            that it was given.
        skip_mismatch: bool, whether variables that the file has not, or of another shape, stay as
            they are, with a warning.

    Raises:
        AgentStateError: when the agent is not built.
        LoadError: when the file cannot be read, or is damaged.
        MismatchError: when its variables are not the agent's; none has been changed then.
        UnsafeFileError: when it holds anything but plain arrays.
    """
    if not agent.built:
        raise AgentStateError(
            f"this {type(agent).__name__} is not built: it has no weights yet. Call build(env) "
            "before load_weights, or load a whole agent with kerasrl.load."
        )
    make_slots(agent)
    whole = os.fspath(path).endswith(".keras")
    path = path if whole else _existing(path, weights_path)
    with reading(path):
        content = read_archive(path).weights if whole else read_file(path)
        arrays = with_own_optimizers(agent, read_arrays(content))
        if skip_mismatch:
            arrays = with_own_mismatches(agent, arrays)
        put(agent, matched(agent, arrays))


def unpickled(data: bytes) -> Any:
    """Makes the agent of a pickle, which is trusted: it may have classes of the user's.

    Args:
        data: bytes of the `.keras` file that `pickled` gave.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "agent.keras")
        path.write_bytes(data)
        archive = read_archive(path)
        arrays = read_arrays(archive.weights)
        agent = _made(canonical(archive.config), arrays, {}, safe_mode=False)
        put(agent, matched(agent, arrays))
        return agent


def pickled(agent: Saved) -> bytes:
    """The `.keras` file of an agent, built and compiled or not."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the agent has not yet been built")
        path = Path(directory, "agent.keras")
        save_agent(agent, path)
        return path.read_bytes()


def _existing(path: Any, named: Callable[[Any], Path]) -> Any:
    """The file of a name as it is, or else as saving makes it."""
    return path if os.path.exists(path) else named(path)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Has every error say which file it is about; what a file causes is a `LoadError`."""
    try:
        yield
    except LoadError as error:
        told = f"{_printable(error)}{_hint(path)}"
        raise type(error)(f"{os.fspath(path)} cannot be loaded: {told}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise LoadError(f"{os.fspath(path)} cannot be loaded: {reason}.") from error
    except Exception as error:  # Whatever Keras, Gymnasium and TensorFlow raise for what it says.
        kind = "" if isinstance(error, KerasRLError) else f"{type(error).__name__}: "
        raise LoadError(
            f"{os.fspath(path)} cannot be loaded: no agent can be made of what it says. "
            f"{kind}{_printable(error)}"
        ) from error


def _hint(path: str | os.PathLike[str]) -> str:
    """What to load instead of a directory."""
    path = Path(path)
    with contextlib.suppress(OSError):
        found = sorted([*path.glob("agent.keras"), *path.glob("step-*/agent.keras")])
        if found:
            return f" The agent of this checkpoint is {found[-1]}."
        if (path / "policy.json").is_file():
            return " It is a policy: use kerasrl.load_policy."
    return ""


def _printable(error: Exception) -> str:
    """What an error says, without what a file could do to a terminal."""
    text = str(error)[:_LONGEST_REASON]
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _made(
    config: dict[str, Any],
    arrays: dict[str, np.ndarray],
    custom_objects: dict[str, Any],
    safe_mode: bool = True,
) -> Any:
    """Makes the agent, step by step, so that what it allocates can be checked before it does."""
    config, shared = prepared(native(config))
    build_config = config.pop("build_config", None)
    compile_config = config.pop("compile_config", None)
    objects = {**custom_objects, **shared}
    nbytes = sum(array.nbytes for array in arrays.values())
    scope = keras.saving.custom_object_scope(objects)
    with bounded_variables(nbytes, len(arrays)), checking_calls(), scope:
        agent = keras.saving.deserialize_keras_object(config, objects, safe_mode)
        if build_config is not None:
            check_called(agent)
            agent.build_from_config(build_config)
        if compile_config is not None:
            agent.compile_from_config(compile_config)
    return agent
