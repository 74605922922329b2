"""The shape of what Gymnasium's `reset` and `step` return."""

import inspect
from typing import Any

RESET = "reset() must return (observation, info)"
STEP = "step() must return (observation, reward, terminated, truncated, info)"


def is_reset(result: Any) -> bool:
    """Whether `result` is what Gymnasium's `reset` returns."""
    return isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)


def is_step(result: Any) -> bool:
    """Whether `result` is what Gymnasium's `step` returns."""
    return isinstance(result, tuple) and len(result) == 5


def old_api(rule: str, result: Any) -> str:
    """Says what `reset` or `step` returned where `rule` says what it must."""
    received = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
    return (
        f"{rule}, as gymnasium has it since 0.26; received {received}. Port the environment from "
        "the old gym API"
    )


def takes_seed(env: Any) -> bool:
    """Whether `env.reset` takes `seed`, as gymnasium has it since 0.26."""
    try:
        parameters = inspect.signature(env.reset).parameters.values()
    except (TypeError, ValueError):  # It is not written in Python.
        return True
    return any(p.name == "seed" or p.kind == p.VAR_KEYWORD for p in parameters)
