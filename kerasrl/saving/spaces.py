"""The spaces in the config of an agent, of which arrays are made as large as they say."""

import math
from collections.abc import Iterator
from typing import Any

from kerasrl.errors import UnsafeFileError

_MOST_ELEMENTS = 2**24
_MOST_SPACES = 1000
_MOST_INTEGERS = 4096  # of a MultiDiscrete, each of which has a layer's part of its own


def check_spaces(build_config: Any) -> None:
    """Refuses spaces that are too large.

    Args:
        build_config: what `Agent.get_build_config` gave, or None.

    Raises:
        UnsafeFileError: when there are more than 1000 spaces, or they have more than 2**24
            elements, or no shape that is one.
    """
    shapes = space_shapes(build_config)
    elements = sum(math.prod(shape) for shape in shapes)
    if elements > _MOST_ELEMENTS or len(shapes) > _MOST_SPACES:
        raise UnsafeFileError(
            f"it has {len(shapes)} spaces of {elements} elements, which could exhaust memory."
        )


def space_shapes(build_config: Any) -> list[tuple[int, ...]]:
    """The shapes of the spaces that are not made of others."""
    spaces = build_config.values() if isinstance(build_config, dict) else ()
    return [_shape(leaf) for space in spaces for leaf in _leaves(space)]


def _leaves(space: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(space, dict):
        raise UnsafeFileError("its spaces are of an unknown form.")
    children = space.get("spaces")
    if children is None:
        yield space
    else:
        for child in children.values() if isinstance(children, dict) else children:
            yield from _leaves(child)


def _shape(space: dict[str, Any]) -> tuple[int, ...]:
    if _count(space.get("nvec")) > _MOST_INTEGERS:
        raise UnsafeFileError(f"it has a space of more than {_MOST_INTEGERS} integers.")
    shape = space.get("n" if space.get("kind") == "MultiBinary" else "shape", [])
    shape = shape if isinstance(shape, list) else [shape]
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise UnsafeFileError("it has a space whose shape is not of integers.")
    return tuple(shape)


def _count(nest: Any) -> int:
    return sum(_count(child) for child in nest) if isinstance(nest, list) else 1
