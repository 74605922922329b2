"""What an environment offers, in the words of TensorFlow: spaces turned into nested specs."""

import contextlib
import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentTypeError, SpaceError
from kerasrl.warning import warn

_LEAVES = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiBinary, gym.spaces.MultiDiscrete)


@dataclasses.dataclass(frozen=True, init=False)
class EnvSpec:
    """The observation and action spaces of one environment (not of a vector of them).

    `EnvSpec(env)` is that of an environment, and `EnvSpec(observation_space, action_space)` that of
    two spaces.

    Args:
        observation_space: `gymnasium.Space`; Box, Discrete, MultiBinary, MultiDiscrete, or any
            nesting of these in Dict and Tuple. Or, alone, a `gymnasium.Env`, a
            `gymnasium.vector.VectorEnv`, or the id or a callable that makes one.
        action_space: `gymnasium.Space`; Box, Discrete, MultiBinary or MultiDiscrete.

    Raises:
        ArgumentTypeError: when it is given neither two spaces nor an environment.
        SpaceError: when a space is of another kind, has no elements, or its bounds are the wrong
            way round.
    """

    observation_space: gym.Space
    action_space: gym.Space

    def __init__(self, observation_space: Any, action_space: Any = None):
        spaces = observation_space, action_space
        if action_space is None and not isinstance(observation_space, gym.Space):
            spaces = _spaces_of(observation_space)
        for name, space in zip(("observation_space", "action_space"), spaces, strict=True):
            if not isinstance(space, gym.Space):
                raise ArgumentTypeError(
                    f"EnvSpec needs an environment, or two gymnasium.Spaces; received {space!r} as "
                    f"{name}."
                )
            object.__setattr__(self, name, space)
        self._check()

    def _check(self) -> None:
        for path, space in space_leaves(self.observation_space, "observation_space"):
            _check_leaf(path, space)
            _warn_of_float_pixels(path, space)
        _check_leaf("action_space", self.action_space)
        _warn_of_constants(self.action_space)

    def get_config(self) -> dict[str, Any]:
        """Both spaces as JSON has them."""
        return {
            "observation_space": _space_config(self.observation_space),
            "action_space": _space_config(self.action_space),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EnvSpec":
        """Makes a spec of what `get_config` gave."""
        return cls(_space(config["observation_space"]), _space(config["action_space"]))

    @property
    def observation(self) -> Any:
        """Nest of `tf.TensorSpec`: one observation, without a batch dimension."""
        return tensor_spec(self.observation_space)

    @property
    def action(self) -> tf.TensorSpec:
        """`tf.TensorSpec` of one action, without a batch dimension."""
        return tensor_spec(self.action_space)


def space_leaves(space: gym.Space, path: str = "") -> list[tuple[str, gym.Space]]:
    """Lists the leaf spaces of a nested space with their paths, in `tf.nest` order.

    Raises:
        SpaceError: when a part of it has no leaf.
    """
    if isinstance(space, gym.spaces.Dict):
        children = [(f"{path}[{key!r}]", space[key]) for key in sorted(space.keys())]
    elif isinstance(space, gym.spaces.Tuple):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(space)]
    else:
        return [(path, space)]
    if not children:
        raise _without_elements(path or "the space", space)
    return [leaf for child_path, child in children for leaf in space_leaves(child, child_path)]


def tensor_spec(space: gym.Space) -> Any:
    """Turns a (nested) space into the same nest of `tf.TensorSpec`."""
    if isinstance(space, gym.spaces.Dict):
        return {key: tensor_spec(child) for key, child in space.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(tensor_spec(child) for child in space)
    return tf.TensorSpec(space.shape, tf.as_dtype(space.dtype))


def _spaces_of(env: Any) -> tuple[Any, Any]:
    """The spaces of an environment; one that has to be made for it is closed again."""
    if isinstance(env, gym.vector.VectorEnv):
        return env.single_observation_space, env.single_action_space
    if isinstance(env, gym.Env):
        return env.observation_space, env.action_space
    if not (isinstance(env, str) or callable(env)):
        return env, None
    made = gym.make(env, disable_env_checker=True) if isinstance(env, str) else env()
    if not isinstance(made, gym.Env | gym.vector.VectorEnv):
        return made, None
    with contextlib.closing(made):
        return _spaces_of(made)


def _check_leaf(path: str, space: gym.Space) -> None:
    if not isinstance(space, _LEAVES):
        raise SpaceError(
            f"{path} is {space}, a kind of space that kerasrl does not serve. Supported are Box, "
            "Discrete, MultiBinary and MultiDiscrete, and for observations any nesting of them in "
            "Dict and Tuple. Wrap the environment, e.g. in gymnasium.wrappers.TransformObservation "
            "or TransformAction."
        )
    if 0 in (space.shape or ()):
        raise _without_elements(path, space)
    if isinstance(space, gym.spaces.Box) and np.any(space.low > space.high):
        index = tuple(int(i) for i in np.argwhere(space.low > space.high)[0])
        raise SpaceError(
            f"{path} has low > high at index {index}: {space.low[index]} > {space.high[index]}. "
            "Swap the bounds in the environment."
        )


def _without_elements(path: str, space: gym.Space) -> SpaceError:
    return SpaceError(
        f"{path} is {space}, which has no elements: nothing in it can be observed or chosen. Leave "
        "it out of the space, e.g. with gymnasium.wrappers.TransformObservation or TransformAction."
    )


def _warn_of_float_pixels(path: str, space: gym.Space) -> None:
    if (
        isinstance(space, gym.spaces.Box)
        and len(space.shape) == 3
        and space.dtype.kind == "f"
        and np.all(space.high == 255)
    ):
        warn(
            f"{path} is an image of {space.dtype} up to 255, which networks take as it is. Declare "
            "uint8, which is divided by 255, or scale it to [0, 1]."
        )


def _warn_of_constants(space: gym.Space) -> None:
    if isinstance(space, gym.spaces.Box) and np.any(space.low == space.high):
        index = tuple(int(i) for i in np.argwhere(space.low == space.high)[0])
        warn(
            f"action_space has low == high at index {index}: that action is always "
            f"{space.low[index]}, and there is nothing to learn about it."
        )


def _space_config(space: Any) -> dict[str, Any]:
    kind = type(space).__name__
    if isinstance(space, gym.spaces.Dict):
        return {"kind": kind, "spaces": {key: _space_config(space[key]) for key in space}}
    if isinstance(space, gym.spaces.Tuple):
        return {"kind": kind, "spaces": [_space_config(child) for child in space]}
    if isinstance(space, gym.spaces.Box):
        bounds = {"low": _compact(space.low), "high": _compact(space.high)}
        return {"kind": kind, **bounds, "shape": list(space.shape), "dtype": str(space.dtype)}
    if isinstance(space, gym.spaces.Discrete):
        return {
            "kind": kind,
            "n": int(space.n),
            "start": int(space.start),
            "dtype": str(space.dtype),
        }
    if isinstance(space, gym.spaces.MultiDiscrete):
        return {
            "kind": kind,
            "nvec": space.nvec.tolist(),
            "start": space.start.tolist(),
            "dtype": str(space.dtype),
        }
    return {"kind": kind, "n": list(space.shape)}


def _space(config: dict[str, Any]) -> gym.Space:
    arguments = {key: value for key, value in config.items() if key != "kind"}
    if config["kind"] == "Dict":
        return gym.spaces.Dict({key: _space(child) for key, child in config["spaces"].items()})
    if config["kind"] == "Tuple":
        return gym.spaces.Tuple([_space(child) for child in config["spaces"]])
    if config["kind"] == "Box":
        dtype, shape = np.dtype(config["dtype"]).type, tuple(config["shape"])
        low, high = (
            np.broadcast_to(np.array(config[key], dtype), shape) for key in ("low", "high")
        )
        return gym.spaces.Box(low, high, shape, dtype)
    if arguments.get("dtype") == "int64":
        del arguments["dtype"]  # The default, and early Gymnasium takes no other for Discrete.
    elif "dtype" in arguments:
        arguments["dtype"] = np.dtype(arguments["dtype"]).type
    kinds = {leaf.__name__: leaf for leaf in _LEAVES}
    return kinds[config["kind"]](**arguments)


def _compact(bound: np.ndarray) -> Any:
    """A bound as a list, or as one number where it is the same everywhere."""
    return bound.flat[0].item() if bound.size and (bound == bound.flat[0]).all() else bound.tolist()
