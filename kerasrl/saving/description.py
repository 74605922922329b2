"""What an agent is, as its config says it, without what differs between two of the same."""

import re
from typing import Any

_DROPPED = {"module", "registered_name", "class_name", "shared_object_id"}
_NOT_SETTINGS = {"build_config", "compile_config"}
_RUN_OPTIONS = ("steps_per_execution", "jit_compile", "run_eagerly")
_AUTOMATIC_INPUT = re.compile(r"(input|input_layer|\w+_input)(_\d+)?")
_SAID_BY_SHAPES = ("axis", "build_input_shape")  # Which Keras 2 writes as it has found them.
_NUMBER = re.compile(r"_\d+$")


def describe(config: dict[str, Any]) -> dict[str, Any]:
    """Describes an agent for comparison with another.

    Names that Keras made up say nothing. Learning rates that are numbers are left out, as they are
    variables.

    Args:
        config: dict, what `config.json` of the agent's file says.

    Returns:
        nested dict of the class, the spaces, the constructor's arguments with the networks, and
        the optimizers.
    """
    compiled = config.get("compile_config") or {}
    optimizers = {
        name: _without_rate(_described(value))
        for name, value in compiled.items()
        if name not in _RUN_OPTIONS
    }
    arguments = _described({key: value for key, value in config.items() if key != "name"})
    spaces = {**(config.get("build_config") or {})}
    spaces.pop("frozen", None)  # Callbacks may freeze and unfreeze.
    return {"class": _class(config), **spaces, **arguments, **optimizers}


def learning_rates(config: dict[str, Any]) -> dict[str, float]:
    """The learning rates in an agent's config, by optimizer, of those that have a number for it."""
    rates = {}
    for name, value in (config.get("compile_config") or {}).items():
        inner = value
        while isinstance(inner, dict) and "inner_optimizer" in inner["config"]:
            inner = inner["config"]["inner_optimizer"]
        rate = inner["config"].get("learning_rate") if isinstance(inner, dict) else None
        if isinstance(rate, int | float):
            rates[name] = float(rate)
    return rates


def _described(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_described(child) for child in value]
    if isinstance(value, float):
        return float(f"{value:.7g}")  # Keras 2 keeps some as float32.
    if not isinstance(value, dict):
        return value
    if "class_name" not in value:
        return {key: _described(child) for key, child in value.items()}
    config = value["config"]
    if not isinstance(config, dict):
        return {"class": _class(value), "config": config}
    if isinstance(config.get("layers"), list):
        config = _renamed(config)
    kept = {k: child for k, child in config.items() if k not in ("name", *_SAID_BY_SHAPES)}
    described = {key: _described(child) for key, child in kept.items()}
    # Those of optimizers and of their schedules say nothing, and differ between Keras 2 and 3.
    if isinstance(config.get("name"), str) and not _is_of_optimizers(value):
        described["name"] = _plain(config["name"], value["class_name"])
    if value.get("inbound_nodes"):
        described["inputs"] = value["inbound_nodes"]
    return {"class": _class(value), **described}


def _renamed(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a network whose connections name layers by kind and place."""
    names = {
        layer["config"]["name"]: f"{_plain(layer['config']['name'], layer['class_name'])}#{i}"
        for i, layer in enumerate(config["layers"])
        if isinstance(layer.get("config"), dict) and "name" in layer["config"]
    }
    renamed = {**config}
    for key in ("input_layers", "output_layers"):
        if key in config:
            renamed[key] = _replaced(config[key], names)
    renamed["layers"] = [
        {**layer, "inbound_nodes": _replaced(layer.get("inbound_nodes"), names)}
        for layer in config["layers"]
    ]
    return renamed


def _replaced(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return [_replaced(child, names) for child in value]
    if isinstance(value, dict):
        return {key: _replaced(child, names) for key, child in value.items()}
    return names.get(value, value) if isinstance(value, str) else value


def _plain(name: str, class_name: str) -> str:
    """A name without the number that Keras gave it; inputs may be found by names of the user's."""
    if class_name != "InputLayer":
        return _NUMBER.sub("", name)
    return "input" if _AUTOMATIC_INPUT.fullmatch(name) else name


def _is_of_optimizers(node: dict[str, Any]) -> bool:
    return str(node.get("module")).startswith("keras.optimizers")


def _class(node: dict[str, Any]) -> str:
    return node.get("registered_name") or node["class_name"]


def _without_rate(optimizer: Any) -> Any:
    if not isinstance(optimizer, dict):
        return optimizer
    kept = {
        key: _without_rate(value)
        for key, value in optimizer.items()
        if key != "jit_compile" and not (key == "learning_rate" and isinstance(value, int | float))
    }
    return kept
