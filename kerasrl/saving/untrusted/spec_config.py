"""Checking the config of a spec that anybody may have written."""

import reprlib
from typing import Any, NoReturn

import numpy as np

from kerasrl.errors import LoadError

_MAX_DEPTH = 32
_MAX_ELEMENTS = 2**24  # Of both spaces: an observation of some megapixels.
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "float32", "float64")
_INFINITE = (float("inf"), -float("inf"), "Infinity", "-Infinity")


def check_spec_config(config: Any) -> None:
    """Checks that a value read from JSON is what `EnvSpec.get_config` gives.

    Nothing large is made for it, and `EnvSpec.from_config` can then be handed it without fear.
    Infinite bounds may be floats, or the strings "Infinity" and "-Infinity".

    Args:
        config: any nest of dicts, lists, strings, numbers, booleans and None.

    Raises:
        LoadError: when it is something else, or describes spaces too large or too deep.
    """
    _check_keys("the spaces", config, {"observation_space", "action_space"})
    elements = _leaf("action_space", config["action_space"])
    elements += _space("observation_space", config["observation_space"], 0)
    if elements > _MAX_ELEMENTS:
        _refuse(f"the spaces may have {_MAX_ELEMENTS} elements", elements)


def _space(path: str, config: Any, depth: int) -> int:
    """Checks a space, and counts its elements."""
    kind = config.get("kind") if isinstance(config, dict) else None
    if kind not in ("Dict", "Tuple"):
        return _leaf(path, config)
    _check_keys(path, config, {"kind", "spaces"})
    spaces: Any = config["spaces"]
    fits = isinstance(spaces, dict if kind == "Dict" else list) and len(spaces) > 0
    if not fits or depth == _MAX_DEPTH:
        _refuse(f"{path} must hold spaces, in up to {_MAX_DEPTH} levels", spaces)
    children: Any = spaces.items() if kind == "Dict" else enumerate(spaces)
    return sum(_space(f"{path}[{reprlib.repr(key)}]", child, depth + 1) for key, child in children)


def _leaf(path: str, config: Any) -> int:
    kinds = {
        "Box": _box,
        "Discrete": _discrete,
        "MultiBinary": _multi_binary,
        "MultiDiscrete": _multi_discrete,
    }
    kind = config.get("kind") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        _refuse(f"{path} must be a space of a kind that kerasrl serves", config)
    return kinds[kind](path, config)


def _box(path: str, config: dict) -> int:
    _check_keys(path, config, {"kind", "low", "high", "shape", "dtype"})
    shape, size = _shape(path, config["shape"])
    dtype = _dtype(path, config["dtype"], (*_FLOATS, *_INTEGERS, "bool"))
    low = _numbers(f"{path}.low", config["low"], dtype, (shape, ()))
    high = _numbers(f"{path}.high", config["high"], dtype, (shape, ()))
    inverted = dtype.kind == "f" and (np.isposinf(low).any() or np.isneginf(high).any())
    if inverted or not np.all(low <= high):
        _refuse(f"{path} must have low <= high, and neither beyond all numbers", config)
    return size


def _discrete(path: str, config: dict) -> int:
    _check_keys(path, config, {"kind", "n", "start", "dtype"})
    _values(path, config, "n", ())
    return 1


def _multi_discrete(path: str, config: dict) -> int:
    _check_keys(path, config, {"kind", "nvec", "start", "dtype"})
    shape = np.array(config["nvec"], object).shape
    _values(path, config, "nvec", shape)
    if 0 in shape:
        _refuse(f"{path} must have elements", config["nvec"])
    return int(np.prod(shape))


def _multi_binary(path: str, config: dict) -> int:
    _check_keys(path, config, {"kind", "n"})
    return _shape(path, config["n"])[1]


def _values(path: str, config: dict, key: str, shape: tuple) -> None:
    """Checks that as many integers as are asked for, from the first on, are of the dtype."""
    dtype = _dtype(path, config["dtype"], _INTEGERS)
    first = _numbers(f"{path}.start", config["start"], dtype, (shape,))
    count = _numbers(f"{path}.{key}", config[key], dtype, (shape,))
    last = [int(start) + int(n) - 1 for start, n in zip(first.flat, count.flat, strict=True)]
    if not np.all(count > 0) or max(last, default=0) > np.iinfo(dtype).max:
        _refuse(f"{path} must have at least one value, and none beyond {dtype}", config)


def _shape(path: str, shape: Any) -> tuple[tuple, int]:
    if not isinstance(shape, list) or len(shape) > _MAX_DEPTH:
        _refuse(f"{path} must have a list as its shape", shape)
    size = 1
    for length in shape:
        if not _is_int(length) or length < 1:
            _refuse(f"{path} must have a shape of ints, at least 1", shape)
        size *= length
        if size > _MAX_ELEMENTS:
            _refuse(f"{path} may have {_MAX_ELEMENTS} elements", shape)
    return tuple(shape), size


def _dtype(path: str, dtype: Any, allowed: tuple[str, ...]) -> np.dtype:
    if not isinstance(dtype, str) or dtype not in allowed:
        _refuse(f"{path} must have a dtype out of {', '.join(allowed)}", dtype)
    return np.dtype(dtype)


def _numbers(path: str, value: Any, dtype: np.dtype, shapes: tuple[tuple, ...]) -> np.ndarray:
    numbers = np.array(value, object)
    if numbers.shape not in shapes:
        _refuse(f"{path} must be of shape {list(shapes[0])}", value)
    for number in numbers.flat:
        if not _is_number(number, dtype):
            _refuse(f"{path} must hold {dtype} numbers", number)
    return numbers.astype(dtype)


def _is_number(number: Any, dtype: np.dtype) -> bool:
    if dtype.kind == "b":
        return isinstance(number, bool)
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        finite = _is_int(number) or isinstance(number, float)
        return number in _INFINITE or (finite and -largest <= number <= largest)
    limits = np.iinfo(dtype)
    return _is_int(number) and limits.min <= number <= limits.max


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_keys(path: str, config: Any, keys: set[str]) -> None:
    if not isinstance(config, dict) or set(config) != keys:
        received = sorted(config) if isinstance(config, dict) else config
        _refuse(f"{path} must be a dict with {', '.join(sorted(keys))}", received)


def _refuse(rule: str, received: Any) -> NoReturn:
    raise LoadError(f"{rule}; received {reprlib.repr(received)}.")
