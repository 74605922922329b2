"""Writing agents to files."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from kerasrl.errors import ArgumentError, SaveError, UnsafeFileError
from kerasrl.saving.atomic import explained, replacing_file
from kerasrl.saving.configs import check_savable
from kerasrl.saving.weights import arrays_of, make_slots, packed
from kerasrl.version import __version__


def save_agent(agent: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes the whole of an agent to a `.keras` file, which takes the place of an earlier one.

    The file is the one that `keras.Model.save` writes; its comment says the version of kerasrl.

    Args:
        agent: the agent, with its optimizers if it is compiled.
        path: str or path, ending in `.keras`.

    Raises:
        ArgumentError: when it ends otherwise.
        SaveError: when the file cannot be written, or `load` would refuse it; an earlier one is as
            it was.
    """
    _check_suffix(path, ".keras")
    make_slots(agent)
    with replacing_file(path) as partial:
        _write(agent, partial)
        with zipfile.ZipFile(partial, "a") as archive:
            _check_loadable(json.loads(archive.read("config.json")))
            archive.comment = json.dumps({"kerasrl": __version__}).encode()


def save_weights(agent: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes an agent's variables to a `.weights.h5` file, which takes the place of an earlier one.

    Args:
        agent: the agent, with its optimizers if it is compiled.
        path: str or path, ending in `.weights.h5`.

    Raises:
        ArgumentError: when it ends otherwise.
        SaveError: when the file cannot be written; an earlier one is as it was.
    """
    _check_suffix(path, ".weights.h5")
    make_slots(agent)
    with explained(Path(path)):
        data = packed(arrays_of(agent))
    with replacing_file(path) as partial:
        partial.write_bytes(data)


def _write(agent: keras.Model, path: Path) -> None:
    try:
        keras.Model.save(agent, path, save_format="keras_v3")  # "keras" is h5 in some threads.
    except TypeError as error:
        if not str(error).startswith("Cannot serialize object"):
            raise
        raise SaveError(
            f"the agent is not saved, since Keras cannot write all of its config: {error} Slices "
            "with `...` are such; write them with `:`, or slice in the call of a layer of your own."
        ) from error


def _check_loadable(config: dict[str, Any]) -> None:
    try:
        check_savable(config)
    except UnsafeFileError as error:
        raise SaveError(
            f"the agent is not saved, since kerasrl.load would refuse it: {error}"
        ) from error


def _check_suffix(path: str | os.PathLike[str], suffix: str) -> None:
    if not str(path).endswith(suffix):
        raise ArgumentError(f"the name must end in {suffix}; received {str(path)!r}.")
