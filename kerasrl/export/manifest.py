"""What `policy.json` says of an exported policy: written, and read without trusting it."""

import json
import math
import os
import reprlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from kerasrl.envs import EnvSpec
from kerasrl.errors import LoadError, MismatchError, SpaceError
from kerasrl.export.input_names import input_names
from kerasrl.files.listing import first_difference, listing
from kerasrl.saving.untrusted.spec_config import check_spec_config
from kerasrl.version import __version__

EXPORT_FORMATS = ("saved_model", "tflite")
_FILE = "policy.json"
_VERSION = 2  # Of policies with a state; others are of 1, which older versions can load, too.
_MAX_BYTES = 2**24
_SPACES = ("observation_space", "action_space")
_STATE_DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("bfloat16", "float16", "float32", "float64"),
)


def write_info(
    directory: Path, spec: EnvSpec, info: dict[str, Any], states: Sequence[np.ndarray] = ()
) -> None:
    """Writes `policy.json` beside the files of a policy, all of which it lists.

    Args:
        directory: path.
        spec: `EnvSpec` of the spaces.
        info: dict, the rest of what `read_info` gives.
        states: list of arrays, what the recurrent state of an episode begins with.

    Raises:
        SpaceError: when it takes too much to describe the spaces.
    """
    info = {
        "format_version": _VERSION if states else 1,
        **info,
        **({"state": [_described(state) for state in states]} if states else {}),
        "inputs": input_names(spec.observation_space),
        "output": "action",
        **spec.get_config(),
        "files": listing(directory),
    }
    text = json.dumps(_without_infinities(info), indent=1, allow_nan=False)
    if len(text) > _MAX_BYTES:
        raise SpaceError(
            f"the bounds of these spaces take {len(text)} bytes to describe, and {_FILE} may have "
            f"{_MAX_BYTES}. Give large Boxes the same bounds everywhere."
        )
    (directory / _FILE).write_text(text + "\n", encoding="utf-8")


def has_info(directory: Path) -> bool:
    """Whether a directory is one that a policy was exported to."""
    return (directory / _FILE).is_file()


def read_info(directory: str | os.PathLike[str]) -> tuple[dict[str, Any], EnvSpec]:
    """Reads `policy.json`, which may be anybody's: nothing in it is run, nor made unchecked.

    Args:
        directory: str or path that a policy was exported to.

    Returns:
        The dict that the file holds, with `format_version`, `format`, `agent`, `env_steps`,
        `gradient_steps`, `results`, `versions`, `signatures`, `inputs`, `output`,
        `observation_space`, `action_space` and `files`, and `state` of a policy that has one; and
        the `EnvSpec` of its spaces.

    Raises:
        LoadError: when there is no such file, or it is not one of an exported policy.
        MismatchError: when a newer version of kerasrl wrote it.
    """
    path = Path(directory, _FILE)
    try:
        if not path.is_file():
            raise LoadError(f"there is no {_FILE}, as a directory that was exported to has.")
        info = _parsed(path)
        _check(info)
        spec = EnvSpec.from_config(info)
        if info["inputs"] != input_names(spec.observation_space):
            _refuse("inputs must name the leaves of observation_space", info["inputs"])
    except MismatchError:
        raise
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}.") from error
    except LoadError as error:
        raise LoadError(f"{path} does not describe an exported policy: {error}") from error
    return info, spec


def check_files(directory: Path, info: dict[str, Any]) -> None:
    """Raises `LoadError` unless the policy's files are those that were written."""
    if difference := first_difference(directory, info["files"]):
        raise LoadError(
            f"{directory} is not whole: {difference}. Copy the directory again, or export the "
            "policy again."
        )


def are_results(value: Any) -> bool:
    """Whether a value is a dict of finite numbers by name, such as `evaluate` gives."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(number, int | float)
        and not isinstance(number, bool)
        and abs(number) <= sys.float_info.max
        for name, number in value.items()
    )


def initial_state(info: dict[str, Any]) -> list[np.ndarray]:
    """The recurrent state that an episode of one environment begins with, leaf by leaf.

    Args:
        info: dict, as `policy.json` has it.

    Raises:
        LoadError: when it does not describe one.
    """
    state = info.get("state", [])
    if not isinstance(state, list):
        _refuse("state must be a list", state)
    return [_array(leaf, f"state_{i}") for i, leaf in enumerate(state)]


def _described(state: np.ndarray) -> dict[str, Any]:
    return {
        "dtype": tf.as_dtype(state.dtype).name,
        "shape": list(state.shape),
        "initial": [float(x) if state.dtype.kind not in "iub" else int(x) for x in state.flat],
    }


def _array(leaf: Any, name: str) -> np.ndarray:
    """Makes the array of a described leaf; refuses what is none."""
    rule = f"{name} must have a numeric dtype, a shape, and as many initial numbers"
    if not isinstance(leaf, dict) or set(leaf) != {"dtype", "shape", "initial"}:
        _refuse(rule, leaf)
    dtype, shape, initial = leaf["dtype"], leaf["shape"], leaf["initial"]
    if dtype not in _STATE_DTYPES or not isinstance(shape, list) or not isinstance(initial, list):
        _refuse(rule, leaf)
    numbers = all(isinstance(x, int | float) for x in initial)
    if not numbers or not all(map(_is_count, shape)) or math.prod(shape) != len(initial):
        _refuse(rule, leaf)
    kind = tf.as_dtype(dtype)
    if not kind.is_floating:
        low, high = (0, 1) if kind == tf.bool else (kind.min, kind.max)
        if not all(isinstance(x, int) and low <= x <= high for x in initial):
            _refuse(rule, leaf)
    return np.array(initial, kind.as_numpy_dtype).reshape(shape)


def _parsed(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        _refuse(f"it may have {_MAX_BYTES} bytes", "more")
    try:
        info = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LoadError(f"it is not JSON: {error}.") from error
    if not isinstance(info, dict):
        _refuse("it must be a dict", info)
    return info


def _check(info: dict[str, Any]) -> None:
    version: Any = info.get("format_version")
    if not _is_count(version) or version < 1:
        _refuse("format_version must be a positive int", version)
    if version > _VERSION:
        raise MismatchError(
            f"the policy was exported by a newer kerasrl, in format {version}; kerasrl "
            f"{__version__} knows formats up to {_VERSION}. Update kerasrl, or load it with "
            "TensorFlow alone."
        )
    keys = {"format_version", *_RULES, *_SPACES} | ({"state"} if version > 1 else set())
    for rule, different in (("lacks", keys - set(info)), ("may not have", set(info) - keys)):
        if different:
            raise LoadError(f"it {rule} {reprlib.repr(sorted(different))}.")
    for key, (rule, fits) in _RULES.items():
        if not fits(info[key]):
            _refuse(f"{key} must be {rule}", info[key])
    if version > 1:
        initial_state(info)
    check_spec_config({key: info[key] for key in _SPACES})


def _are_files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(described, dict)
        and set(described) == {"bytes", "sha256"}
        and _is_count(described["bytes"])
        and isinstance(described["sha256"], str)
        for described in value.values()
    )


def _are_strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_RULES = {
    "format": (f"one of {', '.join(EXPORT_FORMATS)}", lambda value: value in EXPORT_FORMATS),
    "agent": ("a str", lambda value: isinstance(value, str)),
    "env_steps": ("an int from 0 on", _is_count),
    "gradient_steps": ("an int from 0 on", _is_count),
    "results": ("a dict of finite numbers, or null", lambda v: v is None or are_results(v)),
    "versions": ("a dict of strs", _are_strings),
    "signatures": ('["act"] or ["act", "sample"]', lambda v: v in (["act"], ["act", "sample"])),
    "inputs": ("a list", lambda value: isinstance(value, list)),
    "output": ('"action"', lambda value: value == "action"),
    "files": ("a dict of dicts with bytes and sha256", _are_files),
}


def _without_infinities(value: Any) -> Any:
    """The same with strings for the infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_infinities(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_without_infinities(child) for child in value]
    if isinstance(value, float) and value in (float("inf"), -float("inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _refuse(rule: str, received: Any) -> NoReturn:
    raise LoadError(f"{rule}; received {reprlib.repr(received)}.")
