"""The state of an environment, taken out of it and put back, so that an episode can go on."""

from typing import Any

import gymnasium as gym
from gymnasium import wrappers
from gymnasium.wrappers.common import OrderEnforcing, PassiveEnvChecker

# The attributes in which Gymnasium's own wrappers and environments keep what changes.
_WRAPPERS: dict[type[gym.Wrapper], tuple[str, ...]] = {
    OrderEnforcing: ("_has_reset",),
    PassiveEnvChecker: ("checked_reset", "checked_step", "checked_render"),
    wrappers.TimeLimit: ("_elapsed_steps",),
    wrappers.ClipAction: (),
    wrappers.DtypeObservation: (),
    wrappers.FlattenObservation: (),
    wrappers.RescaleAction: (),
    wrappers.RescaleObservation: (),
}
_CLASSIC_CONTROL = ("state", "last_u", "steps_beyond_terminated")


def get_state(env: gym.Env) -> list[Any] | None:
    """The states of an environment's wrappers, from the outermost, and its own.

    Served are classic control, Gymnasium's plain wrappers, and whatever defines
    `get_state()`, which returns dicts, lists, plain values and arrays, and `set_state(state)`.

    Returns:
        List of states, or None when the state of some part cannot be had.
    """
    states = []
    for layer in _layers(env):
        state = _get_layer(layer)
        if state is None:
            return None
        states.append(state)
    return states


def set_state(env: gym.Env, states: list[Any]) -> None:
    """Puts back what `get_state` gave for an environment of the same make."""
    for layer, state in zip(_layers(env), states, strict=True):
        if hasattr(type(layer), "set_state"):
            layer.set_state(state)
            continue
        for name in _WRAPPERS.get(type(layer), _CLASSIC_CONTROL):
            if name in state["attributes"]:
                setattr(layer, name, state["attributes"][name])
        if "random" in state:
            layer.np_random.bit_generator.state = state["random"]


def layer_names(env: gym.Env) -> list[str]:
    """The classes of an environment's wrappers, from the outermost, and its own."""
    return [type(layer).__name__ for layer in _layers(env)]


def _layers(env: Any) -> list[Any]:
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _get_layer(layer: Any) -> Any:
    if all(hasattr(type(layer), name) for name in ("get_state", "set_state")):
        return layer.get_state()
    if type(layer) in _WRAPPERS:
        return {"attributes": {name: getattr(layer, name) for name in _WRAPPERS[type(layer)]}}
    if type(layer).__module__.startswith("gymnasium.envs.classic_control."):
        names = [name for name in _CLASSIC_CONTROL if hasattr(layer, name)]
        return {
            "attributes": {name: getattr(layer, name) for name in names},
            "random": layer.np_random.bit_generator.state,
        }
    return None
