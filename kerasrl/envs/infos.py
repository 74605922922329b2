"""What environments say besides: the `info` of each, out of whatever form it comes in."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

_FINAL = ("final_obs", "final_info")


class VectorInfos(Sequence):
    """The infos of a `VectorEnv`'s step as a sequence of one dict for each environment.

    They are taken apart when they are asked for.

    Args:
        infos: dict of arrays with their masks, as a `VectorEnv` gives it, or list of dicts.
        num_envs: int, N.
        ended: bool array `[N]`, where the infos of the step are in `final_info`; None for nowhere.
    """

    def __init__(self, infos: Any, num_envs: int, ended: np.ndarray | None = None):
        self._infos = infos
        self._num_envs = num_envs
        self._ended = ended

    def __len__(self) -> int:
        return self._num_envs

    @overload
    def __getitem__(self, env: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, env: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, env: Any) -> Any:
        if isinstance(env, slice):
            return [self[i] for i in range(self._num_envs)[env]]
        env = range(self._num_envs)[env]
        info = _taken_out(self._infos, env)
        if self._ended is not None and self._ended[env] and "final_info" in info:
            return as_info(info["final_info"])
        return {key: value for key, value in info.items() if key not in _FINAL}


def as_info(info: Any) -> dict[str, Any]:
    """A copy of an info; an empty one of what is no mapping, which nobody can read by key."""
    return dict(info) if isinstance(info, Mapping) else {}


def final_observation(infos: Any, env: int) -> Any:
    """The last observation of an environment's episode, or None when it is missing."""
    if isinstance(infos, Mapping):
        return infos["final_obs"][env] if "final_obs" in infos else None
    return _taken_out(infos, env).get("final_obs")


def _taken_out(infos: Any, env: int) -> dict[str, Any]:
    if isinstance(infos, list | tuple):
        return as_info(infos[env]) if env < len(infos) else {}
    info = {}
    for key, value in as_info(infos).items():
        mask = infos.get(f"_{key}")
        is_mask = isinstance(key, str) and key.startswith("_") and key[1:] in infos
        if not is_mask and (mask is None or mask[env]):
            info[key] = _taken_out(value, env) if isinstance(value, dict) else _row(value, env)
    return info


def _row(values: Any, env: int) -> Any:
    """The environment's part of a batch; all of it where there is no batch."""
    indexable = isinstance(values, list | tuple) or np.ndim(values)
    return values[env] if indexable and len(values) > env else values
