"""What a callback has to keep for a run to go on as if it had not been broken off."""

from typing import Any

import keras

# The attributes in which Keras's own callbacks keep what they have seen.
_KEPT: dict[type[keras.callbacks.Callback], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_epoch", "best_weights"),
    keras.callbacks.History: ("epoch", "history"),
    keras.callbacks.ModelCheckpoint: ("best", "epochs_since_last_save"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


def get_states(callbacks: list[keras.callbacks.Callback]) -> dict[str, Any]:
    """The states of the callbacks that have one, by class and number."""
    named = _named(callbacks)
    return {name: _get_state(callback) for name, callback in named.items() if _has(callback)}


def set_states(callbacks: list[keras.callbacks.Callback], states: dict[str, Any]) -> None:
    """Gives each callback the state of its name; one that is new begins as it is."""
    for name, callback in _named(callbacks).items():
        if name in states and _has(callback):
            _set_state(callback, states[name])


def _named(callbacks: list[keras.callbacks.Callback]) -> dict[str, keras.callbacks.Callback]:
    named: dict[str, keras.callbacks.Callback] = {}
    for callback in callbacks:
        name, count = type(callback).__name__, 0
        while f"{name}-{count}" in named:
            count += 1
        named[f"{name}-{count}"] = callback
    return named


def _kept(callback: keras.callbacks.Callback) -> tuple[str, ...]:
    return next((kept for kind, kept in _KEPT.items() if isinstance(callback, kind)), ())


def _has(callback: keras.callbacks.Callback) -> bool:
    return hasattr(callback, "get_state") or bool(_kept(callback))


def _get_state(callback: Any) -> Any:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    return {name: getattr(callback, name) for name in _kept(callback) if hasattr(callback, name)}


def _set_state(callback: Any, state: Any) -> None:
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    for name in _kept(callback):
        if name in state:
            setattr(callback, name, state[name])
