"""Writing agents to files."""

import datetime
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from kerasrl.errors import ArgumentError, SaveError, UnsafeFileError
from kerasrl.files.archive import CONFIG, METADATA, WEIGHTS
from kerasrl.files.atomic import explained, replacing_file
from kerasrl.private import sharing_objects
from kerasrl.saving.forms import canonical
from kerasrl.saving.saved import Saved
from kerasrl.saving.state import check_no_assets
from kerasrl.saving.untrusted.configs import check_savable
from kerasrl.saving.weights import arrays_of, make_slots, packed, without_optimizers
from kerasrl.version import __version__
from kerasrl.warning import warn

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

    It is an archive like those of `keras.Model.save`, whose comment says the version of kerasrl.

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
    if not agent.built:
        warn("the agent has not yet been built: it is saved without weights.")
    if include_optimizer:
        make_slots(agent)
    check_no_assets(agent)
    arrays, config = arrays_of(agent), _config(agent)
    if not include_optimizer:
        arrays = without_optimizers(arrays)
        config.pop("compile_config", None)
    _check_loadable(config)
    members = {
        METADATA: json.dumps({"keras_version": keras.__version__, "date_saved": _now()}).encode(),
        CONFIG: json.dumps(config).encode(),
        WEIGHTS: packed(arrays),
    }
    with replacing_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = json.dumps({"kerasrl": __version__}).encode()


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


def _config(agent: Saved) -> dict[str, Any]:
    try:
        with sharing_objects():
            return json.loads(json.dumps(keras.saving.serialize_keras_object(agent)))
    except TypeError as error:
        if not str(error).startswith("Cannot serialize object"):
            raise
        raise SaveError(
            f"the agent is not saved, since Keras cannot write all of its config: {error} Slices "
            "with `...` are such; write them with `:`, or slice in the call of a layer of your own."
        ) from error


def _now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")


def _check_loadable(config: dict[str, Any]) -> None:
    try:
        check_savable(canonical(config))
    except UnsafeFileError as error:
        raise SaveError(
            f"the agent is not saved, since kerasrl.load would refuse it: {error}"
        ) from error
