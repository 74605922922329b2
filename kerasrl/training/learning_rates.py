"""The learning rates of an agent's optimizers: read, and changed all alike."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import keras

from kerasrl.compatibility import number
from kerasrl.training import building
from kerasrl.warning import warn

_Schedule = keras.optimizers.schedules.LearningRateSchedule
_SCHEDULERS = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


def learning_rates(agent: keras.Model) -> dict[str, float]:
    """The present learning rates, by the names they are logged under.

    Returns:
        dict such as `{"learning_rate": 3e-4}`, or `{"actor_learning_rate": ..., ...}` of an agent
        with several optimizers.
    """
    return {
        name.replace("optimizer", "learning_rate"): _value(optimizer)
        for name, optimizer in _optimizers(agent).items()
    }


class LearningRates:
    """Has Keras's schedulers, which change one optimizer, change all of an agent's alike.

    One that was compiled with a schedule of its own goes its own way.

    Args:
        agent: the agent.
        begun: dict from the names of optimizers to their rates when the run began; those that it
            lacks have their present ones.
    """

    def __init__(self, agent: keras.Model, begun: dict[str, float]):
        optimizers = _optimizers(agent)
        self._main = agent.optimizer
        self._begun = _value(self._main)
        self._others = []
        for name, optimizer in optimizers.items():
            if optimizer is self._main:
                self._begun = begun.get(name, self._begun)
            else:
                self._others.append((optimizer, begun.get(name, _value(optimizer))))

    @contextmanager
    def following(self, callback: keras.callbacks.Callback) -> Iterator[None]:
        """Has the other optimizers follow what a scheduler does to the main one meanwhile.

        Each keeps the ratio to it that it had when the run began.
        """
        before = _value(self._main) if self._others and isinstance(callback, _SCHEDULERS) else None
        yield
        if before is not None and (after := _value(self._main)) != before:
            self._follow(callback, after)

    def _follow(self, callback: keras.callbacks.Callback, rate: float) -> None:
        if not self._begun:
            warn(
                f"{type(callback).__name__} changes the learning rate of one optimizer only, as "
                "that was 0 when the run began, to which the others have no ratio. Compile with "
                "the rates to begin with."
            )
            return
        for optimizer, begun in self._others:
            if isinstance(optimizer.learning_rate, _Schedule):  # Of a legacy optimizer.
                continue
            with suppress(TypeError):  # It has a schedule of its own, which Keras does not let go.
                optimizer.learning_rate = begun * (rate / self._begun)


def _optimizers(agent: keras.Model) -> dict[str, Any]:
    found = {name: getattr(agent, name, None) for name in building.optimizers(agent)}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def _value(optimizer: Any) -> float:
    rate = optimizer.learning_rate
    if isinstance(rate, _Schedule):
        rate = rate(optimizer.iterations)
    return number(rate)
