"""Callbacks that look for the best value of a figure."""

from typing import Any

import keras

from kerasrl.warning import warn

_MORE_IS_BETTER = ("episode_return", "explained_variance", "steps_per_second")
_HUGE = 1e30  # More by any `min_delta`.


def warn_of_directions(callbacks: list[keras.callbacks.Callback]) -> None:
    """Warns of callbacks that look for the least of what more is better of."""
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        more = isinstance(monitor, str) and monitor.endswith(_MORE_IS_BETTER)
        if more and _looks_for_less(callback):
            name = type(callback).__name__
            warn(
                f'{name} takes the least {monitor} for the best, as Keras\'s mode="auto" does: it '
                f'knows accuracies only. Give it mode="max": {name}(monitor={monitor!r}, '
                'mode="max", ...).'
            )


def _looks_for_less(callback: Any) -> bool:
    if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_best_only:
        return False
    better = getattr(callback, "monitor_op", None)
    if better is not None:
        return not better(_HUGE, 0.0)
    known = type(callback).__module__.partition(".")[0] == "kerasrl"  # Theirs is "max".
    return not known and getattr(callback, "mode", None) in ("auto", "min")
