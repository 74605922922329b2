"""How the config of a network says which layers are called on what, in Keras 2's form and 3's.

A tensor is the name of a layer, the number of its call and the number of its output, such as
`["dense", 0, 0]`. Keras 2 writes a call as the nest of tensors that a layer is called on, each with
a dict of the further arguments: `[["dense", 0, 0, {"training": False}]]`. Keras 3 writes the
arguments: `{"args": [...], "kwargs": {...}}`.

The calls of networks within a network are counted from 1 by Keras 2, and from 0 by Keras 3, but for
those of functional ones among the outputs.
"""

from collections.abc import Callable, Container
from typing import Any

TENSOR = "__keras_tensor__"  # What Keras 3 calls the class of a tensor in a config.

# The layers that may be called on several things, by the names that the further ones have.
_FURTHER = {
    "MultiHeadAttention": ("value", "key"),
    **dict.fromkeys(("Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN"), ("initial_state",)),
}


def is_network(config: dict[str, Any]) -> bool:
    """Whether a config is that of a network with connections."""
    return isinstance(config.get("layers"), list) and "input_layers" in config


def is_tensor(value: Any) -> bool:
    """Whether it is how connections name an output of a layer."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        return False
    return all(type(number) is int for number in value[1:])


def is_of_keras_3(call: Any) -> bool:
    """Whether a call is written as Keras 3 does."""
    return isinstance(call, dict) and set(call) == {"args", "kwargs"}


def calls(layer: Any) -> list[Any]:
    """The calls of a layer in a network's config."""
    found = layer.get("inbound_nodes") if isinstance(layer, dict) else None
    return found if isinstance(found, list) else []


def tensors(value: Any) -> list[Any]:
    """All tensors in a nest."""
    if is_tensor(value):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    return [t for child in children for t in tensors(child)] if _is_nest(value) else []


def as_by_keras_2(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a network as Keras 2 would write its connections.

    A call stays in Keras 3's form where Keras 2 has none for it.

    Args:
        config: dict, in either form.
    """
    layers = config["layers"]
    if not any(is_of_keras_3(call) for layer in layers for call in calls(layer)):
        return config
    networks, sequential = _networks(layers)

    def changed(layer: Any, call: Any) -> Any:
        if not is_of_keras_3(call):
            return call
        return _call_by_keras_2(layer, _mapped(call, lambda tensor: _counted(tensor, networks, 1)))

    outputs = _mapped(config.get("output_layers"), lambda end: _counted(end, sequential, 1))
    ends = {"input_layers": _listed(config["input_layers"]), "output_layers": _listed(outputs)}
    return {**config, **ends, "layers": _with_calls(layers, changed)}


def as_by_keras_3(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a network as Keras 3 would write its connections.

    Args:
        config: dict, as `as_by_keras_2` gives it.
    """
    networks, sequential = _networks(config["layers"])

    def changed(_: Any, call: Any) -> Any:
        call = call if is_of_keras_3(call) else _call_by_keras_3(call)
        return _mapped(call, lambda tensor: _described(_counted(tensor, networks, -1)))

    outputs = _mapped(config.get("output_layers"), lambda end: _counted(end, sequential, -1))
    ends = {"input_layers": _single(config["input_layers"]), "output_layers": _single(outputs)}
    return {**config, **ends, "layers": _with_calls(config["layers"], changed)}


def _call_by_keras_2(layer: dict[str, Any], call: dict[str, Any]) -> Any:
    arguments, named = call["args"], call["kwargs"]
    further = _FURTHER.get(str(layer.get("class_name")), ())
    listed = isinstance(arguments, list) and isinstance(named, dict)
    if not listed or not 0 < len(arguments) <= 1 + len(further) or not _all_tensors(arguments[0]):
        return call
    if str(layer.get("module")).startswith("keras.src.ops."):
        return call
    named = {**dict(zip(further, arguments[1:], strict=False)), **named}
    # Keras 3 writes these whether or not they were asked for, and its networks override `training`.
    unasked = ("mask", "training")
    named = {k: v for k, v in named.items() if not (k in unasked and v in (None, False))}
    if any(_is_nest(value) and not is_tensor(value) for value in named.values()):
        return call
    first = _mapped(arguments[0], lambda tensor: [*tensor, named])
    return [first] if is_tensor(arguments[0]) else first


def _call_by_keras_3(call: Any) -> dict[str, Any]:
    named: dict[str, Any] = {}

    def bare(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 4 and isinstance(value[3], dict):
            named.update(value[3])
            return value[:3]
        if isinstance(value, dict):
            return {key: bare(child) for key, child in value.items()}
        return [bare(child) for child in value] if isinstance(value, list) else value

    return {"args": [_single(bare(call))], "kwargs": named}


def _with_calls(layers: list[Any], changed: Callable[[Any, Any], Any]) -> list[Any]:
    return [
        {**layer, "inbound_nodes": [changed(layer, call) for call in calls(layer)]}
        if calls(layer)
        else layer
        for layer in layers
    ]


def _networks(layers: list[Any]) -> tuple[set[str], set[str]]:
    """The names of those layers that are networks, and of the sequential ones among them."""
    found = {
        str(layer.get("name")): is_network(layer["config"])
        for layer in layers
        if isinstance(layer, dict)
        and isinstance(layer.get("config"), dict)
        and isinstance(layer["config"].get("layers"), list)
    }
    return set(found), {name for name, functional in found.items() if not functional}


def _counted(tensor: list[Any], networks: Container[str], by: int) -> list[Any]:
    layer, call, output = tensor
    return [layer, call + by, output] if layer in networks else tensor


def _described(tensor: list[Any]) -> dict[str, Any]:
    """Keras 3's form of a tensor, of which it looks at nothing but where it comes from."""
    config = {"shape": [], "dtype": "float32", "keras_history": tensor}
    return {"class_name": TENSOR, "config": config}


def _listed(ends: Any) -> Any:
    """The inputs or outputs, of which Keras 3 writes a single one without a list."""
    return [ends] if is_tensor(ends) else ends


def _single(ends: Any) -> Any:
    alone = isinstance(ends, list) and len(ends) == 1 and is_tensor(ends[0])
    return ends[0] if alone else ends


def _mapped(value: Any, change: Callable[[list[Any]], Any]) -> Any:
    """Changes every tensor in a nest."""
    if is_tensor(value):
        return change(value)
    if isinstance(value, list):
        return [_mapped(child, change) for child in value]
    if isinstance(value, dict):
        return {key: _mapped(child, change) for key, child in value.items()}
    return value


def _all_tensors(value: Any) -> bool:
    if is_tensor(value):
        return True
    children = value.values() if isinstance(value, dict) else value
    return _is_nest(value) and all(map(_all_tensors, children))


def _is_nest(value: Any) -> bool:
    return isinstance(value, dict | list)
