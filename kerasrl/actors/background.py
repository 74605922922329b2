"""Acting in a thread of its own, while others go on."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.actors.actor import Actor
from kerasrl.envs import Step
from kerasrl.experience import Sink
from kerasrl.experience.packing import Packer
from kerasrl.warning import warn

_PATIENCE = 10.0  # Seconds for a step to end, once a run is over.


class Held:
    """Stands between an actor and those it writes to and tells, and may hold all of it back.

    It is a `Sink`, and its `observe` an `Observer`.

    Args:
        sink: what items go to.
        tell: `Observer`.
    """

    def __init__(self, sink: Sink, tell: Callable[..., None]):
        self._sink, self._tell = sink, tell
        self._holds = False
        self._rows: list[np.ndarray] = []
        self._steps: list[tuple[Any, ...]] = []

    @property
    def packer(self) -> Packer:
        """That of the sink."""
        return self._sink.packer

    def insert(self, rows: np.ndarray) -> None:
        """Adds items to the sink, or holds them back."""
        if self._holds:
            self._rows.append(rows.copy())
        else:
            self._sink.insert(rows)

    def observe(self, observation: list[np.ndarray], action: np.ndarray, step: Step) -> None:
        """Tells of a step, or holds that back."""
        if self._holds:
            self._steps.append(_copied(observation, action, step))
        else:
            self._tell(observation, action, step)

    def hold(self) -> None:
        """Holds back what comes."""
        self._holds = True

    def release(self) -> None:
        """Lets out what was held back, and holds back no more."""
        self._holds = False
        rows, steps, self._rows, self._steps = self._rows, self._steps, [], []
        for step in steps:
            self._tell(*step)
        if rows:
            self._sink.insert(np.concatenate(rows))


class Background:
    """Has an actor act in a thread, one turn at a time.

    What it writes and tells is held back until the turn is ended, so that when it acts changes
    nothing for others. Between `begin` and `end` the actor and its environments are the thread's.

    Args:
        actor: `Actor`, which writes to `held` and has its `observe` for an observer.
        held: `Held`.

    Attributes:
        at_work: bool, whether a turn has begun and not been ended.
    """

    def __init__(self, actor: Actor, held: Held):
        self._actor, self._held = actor, held
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping = False

    @property
    def at_work(self) -> bool:
        """Whether a turn has begun and not been ended."""
        return self._thread is not None

    def begin(self, steps: float) -> None:
        """Begins to act, as `Actor.run(steps)` does."""
        self._held.hold()
        last = self._actor.env_steps + steps
        # A daemon, so that a step that never ends does not keep Python from ending.
        self._thread = threading.Thread(target=self._act, args=(last,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Waits for the turn, if one has begun, and lets out what came of it.

        Raises:
            Exception: what acting raised.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        self._held.release()
        if error is not None:
            raise error

    def stop(self) -> None:
        """Has a turn that has begun stop at its next step; what came of it is lost."""
        if self._thread is None:
            return
        self._stopping = True
        thread, self._thread = self._thread, None
        thread.join(_PATIENCE)
        if thread.is_alive():
            warn(
                f"an environment has not ended its step for {_PATIENCE:g} s, and is left to itself "
                "in its thread."
            )

    def _act(self, last: float) -> None:
        try:
            while self._actor.env_steps < last and not self._stopping:
                self._actor.run(1)
        except BaseException as error:
            self._error = error


def _copied(observation: list[np.ndarray], action: np.ndarray, step: Step) -> tuple[Any, ...]:
    """A step that stays as it is; environments may use their arrays and infos again."""
    kept = {name: _copy(value) for name, value in step._asdict().items()}
    return _copy(observation), np.array(action), Step(**kept)


def _copy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    return [leaf.copy() if isinstance(leaf, np.ndarray | dict) else leaf for leaf in value]
