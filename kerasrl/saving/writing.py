"""Writing agents to files."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from kerasrl.errors import ArgumentError, SaveError, UnsafeFileError
from kerasrl.files.archive import CONFIG, METADATA, WEIGHTS, read_archive
from kerasrl.files.atomic import explained, replacing_file
from kerasrl.saving.saved import Saved
from kerasrl.saving.untrusted.configs import check_savable
from kerasrl.saving.untrusted.hdf5 import read_arrays
from kerasrl.saving.weights import arrays_of, make_slots, packed, without_optimizers
from kerasrl.version import __version__

_AGENT, _WEIGHTS = ".keras", ".weights.h5"


def agent_path(path: str | os.PathLike[str]) -> Path:
    """The file that a whole agent of a name is in: one that does not end in `.keras` gets that.

    Raises:
        ArgumentError: when the name is one of weights alone.
    """
    name = os.fspath(path)
    if name.endswith(_WEIGHTS):
        raise ArgumentError(
            f"a whole agent is in a file whose name ends in {_AGENT}; received {name!r}, a name of "
            "weights alone. Call save_weights for those, or choose another name."
        )
    return Path(name if name.endswith(_AGENT) else f"{name}{_AGENT}")


def weights_path(path: str | os.PathLike[str]) -> Path:
    """The file that weights of a name are in: one that does not end in `.h5` gets `.weights.h5`.

    Raises:
        ArgumentError: when the name is one of a whole agent.
    """
    name = os.fspath(path)
    if name.endswith(_AGENT):
        raise ArgumentError(
            f"weights alone are in a file whose name ends in {_WEIGHTS}; received {name!r}, a name "
            "of a whole agent. Call save for that, or choose another name."
        )
    return Path(name if name.endswith(".h5") else f"{name}{_WEIGHTS}")


def save_agent(agent: Saved, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
    """Writes the whole of an agent to a `.keras` file, which takes the place of an earlier one.

    The file is the one that `keras.Model.save` writes; its comment says the version of kerasrl.

    Args:
        agent: the agent, with its optimizers if it is compiled.
        path: str or path, see `agent_path`.
        include_optimizer: bool, whether the optimizers are kept; the agent is not compiled when it
            is loaded if they are not.

    Raises:
        ArgumentError: when the name is one of weights.
        SaveError: when the file cannot be written, or `load` would refuse it; an earlier one is as
            it was.
    """
    path = agent_path(path)
    if include_optimizer:
        make_slots(agent)
    with replacing_file(path) as partial:
        _write(agent, partial)
        if not include_optimizer:
            _leave_optimizers_out(partial)
        with zipfile.ZipFile(partial, "a") as archive:
            _check_loadable(json.loads(archive.read("config.json")))
            archive.comment = json.dumps({"kerasrl": __version__}).encode()


def _leave_optimizers_out(path: Path) -> None:
    archive = read_archive(path)
    config = {key: value for key, value in archive.config.items() if key != "compile_config"}
    arrays = without_optimizers(read_arrays(archive.weights))
    members = {
        METADATA: json.dumps(archive.metadata).encode(),
        CONFIG: json.dumps(config).encode(),
        WEIGHTS: packed(arrays),
    }
    with zipfile.ZipFile(path, "w") as rewritten:
        for name, content in members.items():
            rewritten.writestr(name, content)


def save_weights(agent: Saved, path: str | os.PathLike[str]) -> None:
    """Writes an agent's variables to a `.weights.h5` file, which takes the place of an earlier one.

    Args:
        agent: the agent, with its optimizers if it is compiled.
        path: str or path, see `weights_path`.

    Raises:
        ArgumentError: when the name is one of a whole agent.
        SaveError: when the file cannot be written; an earlier one is as it was.
    """
    path = weights_path(path)
    make_slots(agent)
    with explained(path):
        data = packed(arrays_of(agent))
    with replacing_file(path) as partial:
        partial.write_bytes(data)


def _write(agent: Saved, path: Path) -> None:
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
