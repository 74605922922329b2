"""Noticing that somebody else has used an environment meanwhile."""

import threading
import types
import weakref
from typing import Any

from gymnasium.vector import SyncVectorEnv


class _Seat:
    """How often an environment was reset or stepped, by whomever, while it is watched."""

    __slots__ = ("lock", "own", "uses", "watchers")

    def __init__(self) -> None:
        self.uses = 0
        self.watchers = 0
        self.lock = threading.RLock()
        self.own: dict[str, Any] = {}  # Methods that the object itself had, and not its class.


_seats: dict[int, _Seat] = {}  # By the id of an environment, which a watcher keeps alive.
_changing = threading.Lock()


class Watch:
    """Notices whether anything but its owner has reset or stepped an environment.

    The owner uses the environment within the context of this object, where no other owner can:

        with watch:
            if not watch.disturbed:
                env.step(action)

    Others are found whether they own a `Watch` of the same environment or call its methods by hand,
    through wrappers or not: until it is released, the innermost environment's `reset` and `step`
    count their calls.

    Args:
        env: `gymnasium.Env` or `gymnasium.vector.VectorEnv`.
    """

    def __init__(self, env: Any):
        base = getattr(env, "unwrapped", env)
        parts = getattr(base, "envs", ()) if isinstance(base, SyncVectorEnv) else ()
        envs = [base, *(part.unwrapped for part in parts)]
        self._seat, *self._others = [_sit(each) for each in envs]
        self._lock = self._seat.lock
        self._seen = self._uses()
        self._leave = weakref.finalize(self, _leave, envs)
        self._leave.atexit = False

    @property
    def disturbed(self) -> bool:
        """Whether somebody else has used the environment since the owner last did."""
        return self._uses() != self._seen

    @disturbed.setter
    def disturbed(self, value: bool) -> None:
        self._seen = self._uses() - value

    def release(self) -> None:
        """Leaves the environment as it was, unless others watch it too."""
        self._leave()

    def __enter__(self) -> "Watch":
        self._lock.acquire()
        return self

    def __exit__(self, *_: Any) -> None:
        self._seat.uses += 1  # Where the methods cannot be made to count.
        self._seen = self._uses()
        self._lock.release()

    def _uses(self) -> int:
        uses = self._seat.uses
        for seat in self._others:
            uses += seat.uses
        return uses


def unwatched(env: Any, name: str) -> Any:
    """The method of that name that an environment has when nobody watches it."""
    seat = _seats.get(id(env))
    if seat is None or _COUNTING[name] is not getattr(vars(env).get(name), "__func__", None):
        return getattr(env, name)
    return seat.own.get(name) or getattr(type(env), name).__get__(env)


# Functions of a module, so that an environment can still be copied and pickled. A copy, of which
# there is no seat, is not watched.


def reset(self: Any, *args: Any, **kwargs: Any) -> Any:
    """What a watched environment has as `reset`."""
    seat = _seats.get(id(self))
    if seat is not None:
        seat.uses += 1
        if "reset" in seat.own:
            return seat.own["reset"](*args, **kwargs)
    return type(self).reset(self, *args, **kwargs)


def step(self: Any, *args: Any, **kwargs: Any) -> Any:
    """What a watched environment has as `step`."""
    seat = _seats.get(id(self))
    if seat is not None:
        seat.uses += 1
        if "step" in seat.own:
            return seat.own["step"](*args, **kwargs)
    return type(self).step(self, *args, **kwargs)


_COUNTING = {"reset": reset, "step": step}


def _sit(env: Any) -> _Seat:
    with _changing:
        seat = _seats.setdefault(id(env), _Seat())
        seat.watchers += 1
        if seat.watchers == 1 and hasattr(env, "__dict__"):
            methods = vars(env)
            for name, counting in _COUNTING.items():
                if name in methods:
                    seat.own[name] = methods[name]
                methods[name] = types.MethodType(counting, env)
        return seat


def _leave(envs: list[Any]) -> None:
    with _changing:
        for env in envs:
            seat = _seats[id(env)]
            seat.watchers -= 1
            if not seat.watchers:
                del _seats[id(env)]
                _restore(env, seat)


def _restore(env: Any, seat: _Seat) -> None:
    methods = getattr(env, "__dict__", {})
    for name, counting in _COUNTING.items():
        if getattr(methods.get(name), "__func__", None) is counting:
            del methods[name]
            if name in seat.own:
                methods[name] = seat.own[name]
