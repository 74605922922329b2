"""The spaces in the config of an agent, of which arrays are made as large as they say."""

from collections.abc import Iterator
from typing import Any

from kerasrl.errors import LoadError, UnsafeFileError
from kerasrl.saving.untrusted.spec_config import check_spec_config

_MOST_SPACES = 1000
_MOST_INTEGERS = 4096  # of MultiDiscretes, each of which has a layer's part of its own


def check_spaces(build_config: Any) -> None:
    """Refuses spaces that are none, or too large.

    Args:
        build_config: what `Agent.get_build_config` gave, or None.

    Raises:
        UnsafeFileError: when it is something else, or there are more than 1000 spaces, or they have
            more than 2**24 elements or 4096 choices.
    """
    if build_config is None:
        return
    if isinstance(build_config, dict):
        _check_frozen(build_config.get("frozen", {}))
        build_config = {key: value for key, value in build_config.items() if key != "frozen"}
    try:
        check_spec_config(build_config)
    except LoadError as error:
        raise UnsafeFileError(f"it has spaces that are not to be made: {error}") from error
    spaces = [leaf for space in build_config.values() for leaf in _leaves(space)]
    integers = sum(_count(space.get("nvec", [])) for space in spaces)
    if len(spaces) > _MOST_SPACES or integers > _MOST_INTEGERS:
        raise UnsafeFileError(
            f"it has {len(spaces)} spaces, and {integers} choices in them, which could exhaust "
            "memory or time."
        )


def _check_frozen(frozen: Any) -> None:
    """Refuses anything but lists of paths, each a list of names and indices, by network."""
    named = isinstance(frozen, dict) and all(isinstance(paths, list) for paths in frozen.values())
    paths = [path for paths in frozen.values() for path in paths] if named else [None]
    if len(paths) > _MOST_INTEGERS or not all(
        isinstance(path, list) and all(isinstance(key, str | int) for key in path) for path in paths
    ):
        raise UnsafeFileError("it says which layers are frozen in an unknown form.")


def _leaves(space: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if space["kind"] not in ("Dict", "Tuple"):
        yield space
        return
    children = space["spaces"]
    for child in children.values() if isinstance(children, dict) else children:
        yield from _leaves(child)


def _count(nest: Any) -> int:
    return sum(_count(child) for child in nest) if isinstance(nest, list) else 1
