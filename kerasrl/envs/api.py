"""The shape of what Gymnasium's `reset` and `step` return."""

import inspect
from collections.abc import Mapping
from typing import Any

from kerasrl.envs.watch import unwatched

RESET = "reset() must return (observation, info)"
STEP = "step() must return (observation, reward, terminated, truncated, info)"


def is_reset(result: Any) -> bool:
    """Whether `result` is what Gymnasium's `reset` returns.

    Its info is a dict, or what wrappers make of the infos of a vector: a list of dicts.
    """
    return isinstance(result, tuple) and len(result) == 2 and _is_info(result[1])


def is_step(result: Any) -> bool:
    """Whether `result` is what Gymnasium's `step` returns."""
    return isinstance(result, tuple) and len(result) == 5


def old_api(rule: str, result: Any) -> str:
    """Says what `reset` or `step` returned where `rule` says what it must."""
    if rule == RESET and isinstance(result, tuple) and len(result) == 2:
        return (
            f"{rule}, and info must be a dict; received {type(result[1]).__name__} as info. Return "
            "(observation, {})"
        )
    received = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
    return (
        f"{rule}, as gymnasium has it since 0.26; received {received}. Port the environment from "
        "the old gym API"
    )


def _is_info(info: Any) -> bool:
    if isinstance(info, list | tuple):
        return all(isinstance(one, Mapping) for one in info)
    return info is None or isinstance(info, Mapping)


def takes_seed(env: Any) -> bool:
    """Whether `env.reset` takes `seed`, as gymnasium has it since 0.26."""
    try:
        parameters = inspect.signature(unwatched(env, "reset")).parameters.values()
    except (TypeError, ValueError):  # It is not written in Python.
        return True
    return any(p.name == "seed" or p.kind == p.VAR_KEYWORD for p in parameters)
