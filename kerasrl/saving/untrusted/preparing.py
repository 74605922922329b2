"""A checked config, changed so that Keras makes of it what was saved, and comes to an end."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import keras

from kerasrl.errors import LoadError, UnsafeFileError

_NAME = "kerasrl shared layer "
_MOST_VISITS = 100_000  # of layers, in all passes over a network


def prepared(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Changes the config of an agent for `keras.saving.deserialize_keras_object`.

    - A layer that several networks have is made once. Keras makes it once for each of them.
    - What networks were compiled with before they became an agent's is left out.
    - Going over the connections of a network ends, even where they can never be made.

    Args:
        config: dict, that of an agent, which `check_config` has passed.

    Returns:
        The other config, and the `custom_objects` to read it with.
    """
    shared = _shared(config["config"])
    objects = {f"{_NAME}{number}": _Once() for number in shared.values()}
    return {**config, "config": _changed(config["config"], shared)}, objects


class _Once:
    """Stands for a class of which there is but one object."""

    def __init__(self):
        self.made: Any = None

    def from_config(self, config: dict[str, Any]) -> Any:
        """The object that the config describes, made the first time."""
        if self.made is None:
            self.made = keras.saving.deserialize_keras_object(config["layer"])
        return self.made


class _Layers(list):
    """The layers of a network, which Keras goes over until all connections are made."""

    passes = 0

    def __iter__(self) -> Iterator[Any]:
        """Counts, because a connection that can never be made would be tried for ever."""
        self.passes += 1
        nodes = sum(len(layer.get("inbound_nodes", ())) for layer in super().__iter__())
        if self.passes > nodes + 10 or self.passes * len(self) > _MOST_VISITS:
            raise UnsafeFileError("its config has a network whose layers cannot be connected.")
        return super().__iter__()


def _shared(config: dict[str, Any]) -> dict[str, int]:
    """Numbers the layers of which there is one in several places, by what the config says of them.

    Keras marks a layer where it comes up again, and in the networks of an agent not where it came
    up first; so that this is found by the layer's name and settings.
    """
    marks: dict[str, list[Any]] = {}
    for node in _nodes(config):
        if _is_layer(node):
            marks.setdefault(_identical(node), []).append(node.get("shared_object_id"))
    shared: dict[str, int] = {}
    for text, found in marks.items():
        if len(found) > 1 and any(mark is not None for mark in found):
            if found.count(None) > 1 or len(set(map(str, found)) - {"None"}) > 1:
                raise LoadError(
                    "it has several layers of the same name and settings, some of which are one; "
                    "which, it does not say. Give layers names of their own before saving."
                )
            shared[text] = len(shared)
    return shared


def _changed(value: Any, shared: dict[str, int]) -> Any:
    if isinstance(value, list):
        return [_changed(child, shared) for child in value]
    if not isinstance(value, dict):
        return value
    dropped = ("compile_config", "shared_object_id")
    made = {key: _changed(child, shared) for key, child in value.items() if key not in dropped}
    if "input_layers" in made and isinstance(made.get("layers"), list):
        made["layers"] = _Layers(made["layers"])
    number = shared.get(_identical(value)) if _is_layer(value) else None
    if number is None:
        return made
    outer = {key: made.pop(key) for key in ("name", "inbound_nodes") if key in made}
    name = f"{_NAME}{number}"
    placeholder = {"module": None, "class_name": name, "registered_name": name}
    return {**placeholder, "config": {"layer": made}, **outer}


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _nodes(child)


def _is_layer(node: dict[str, Any]) -> bool:
    named = isinstance(node.get("config"), dict) and "name" in node["config"]
    return named and node.get("class_name") not in (None, "Policy", "DTypePolicy")


def _identical(node: dict[str, Any]) -> str:
    """A digest of what a config says of a layer, to compare it with another's."""
    keys = ("module", "class_name", "registered_name", "config")
    text = json.dumps(_unmarked({key: node.get(key) for key in keys}), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(child) for child in value]
    if isinstance(value, dict):
        return {key: _unmarked(v) for key, v in value.items() if key != "shared_object_id"}
    return value
