"""The names of what an exported policy is given."""

import re
from typing import Any

import gymnasium as gym


def input_names(space: Any) -> list[str]:
    """Names the leaves of an observation space, in `tf.nest` order.

    A single leaf is `observation`; those of a Dict and a Tuple have the keys and the positions
    behind that, as in `observation_camera` or `observation_body_0`. What is no letter, digit or
    underscore becomes an underscore. Where that would give two leaves one name, all are numbered
    instead: `observation_0`, `observation_1` and so on.

    Args:
        space: `gymnasium.Space` of observations.

    Returns:
        List of str, all different.
    """
    names = [re.sub(r"\W", "_", name, flags=re.ASCII) for name in _names(space, "observation")]
    # TensorFlow takes names that differ in the size of letters only for the same.
    if len({name.lower() for name in names}) < len(names):
        return [f"observation_{i}" for i in range(len(names))]
    return names


def _names(space: Any, name: str) -> list[str]:
    if isinstance(space, gym.spaces.Dict):
        children: Any = [(key, space[key]) for key in sorted(space)]
    elif isinstance(space, gym.spaces.Tuple):
        children = enumerate(space)
    else:
        return [name]
    return [leaf for key, child in children for leaf in _names(child, f"{name}_{key}")]


def state_names(count: int) -> list[str]:
    """Names the leaves of a recurrent state: `state_0`, `state_1` and so on."""
    return [f"state_{i}" for i in range(count)]
