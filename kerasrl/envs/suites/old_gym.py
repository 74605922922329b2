"""Runs PyBullet's environments, which are written for the old gym package, without it.

Their modules import `gym`, extend `sys.path`, print, draw from the global random generators and,
some of them, use whichever physics client was connected first. Each environment therefore gets
modules of its own, outside `sys.modules`, in which those names mean something private to it.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import os
import random
import sys
import threading
import types
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.errors import EnvError, StackError
from kerasrl.native_log import muted

_PACKAGE = "pybullet_envs"
_lock = threading.RLock()


class Physics:
    """PyBullet's functions and constants, bound to one physics client.

    It stands in for the module `pybullet` and for `pybullet_utils.bullet_client.BulletClient`.
    """

    def __init__(self) -> None:
        self._client = -1
        self._pybullet = _import_pybullet()

    def connect(self, mode: int, *args: Any, **kwargs: Any) -> int:
        """Connects the client, unless it is.

        Args:
            mode: int, such as `DIRECT` or `GUI`.

        Returns:
            int, the client's id; -1 when PyBullet could not connect it.

        Raises:
            EnvError: when a window is asked for where there is no display.
        """
        if mode == self._pybullet.GUI and not os.environ.get("DISPLAY"):
            raise EnvError(  # PyBullet would wait for the window without end.
                "a window of PyBullet needs a display; DISPLAY is not set. Use "
                'render_mode="rgb_array".'
            )
        if self._client < 0:
            self._client = self._pybullet.connect(mode, *args, **kwargs)
        return self._client

    def disconnect(self) -> None:
        """Disconnects the client; harmless when it is not connected."""
        client, self._client = self._client, -1
        # PyBullet gives the id to the next client, so nothing may go on using it.
        for name in [name for name in vars(self) if not name.startswith("_")]:
            delattr(self, name)
        if client >= 0:
            self._pybullet.disconnect(physicsClientId=client)

    def loadURDF(self, file: str, *args: Any, **kwargs: Any) -> int:  # noqa: N802  PyBullet's name
        """Loads a body; PyBullet itself takes no client beside a pose of seven numbers."""
        if len(args) == 7:
            args = args[:3], args[3:]
        return self._pybullet.loadURDF(file, *args, physicsClientId=self._client, **kwargs)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._pybullet, name)
        if inspect.isbuiltin(value):
            value = functools.partial(value, physicsClientId=self._client)
            if self._client >= 0:
                setattr(self, name, value)
        return value

    def __del__(self) -> None:
        if vars(self).get("_client", -1) >= 0:
            self.disconnect()


class OldModules:
    """The modules of PyBullet's environments, loaded for one environment.

    Args:
        seed: int, decides what their random generators draw; None is another at every time.

    Attributes:
        physics: `Physics`, the client that they use.

    Raises:
        StackError: when `pybullet_envs` is not installed.
    """

    def __init__(self, seed: int | None = None):
        found = importlib.util.find_spec(_PACKAGE)
        if found is None:
            raise StackError(
                f"{_PACKAGE} is missing, which comes with PyBullet. Install it with: "
                'pip install "kerasrl[pybullet]". From Python 3.12 on it has no wheels, so '
                "that pip compiles it, which takes a C++ compiler and some ten minutes."
            )
        self.physics = Physics()
        self._stand_ins = self._make_stand_ins(np.random.SeedSequence(seed).generate_state(4))
        self._builtins = {**vars(builtins), "__import__": self._import, "print": _print}
        self._modules = {_PACKAGE: self._new_module(_PACKAGE, found.submodule_search_locations)}

    def load(self, entry_point: str) -> Any:
        """Finds what an entry point names, in modules that belong to this instance alone.

        Args:
            entry_point: str, "module:name", such as
                "pybullet_envs.bullet.racecarGymEnv:RacecarGymEnv".
        """
        module, _, name = entry_point.partition(":")
        with _lock:
            path = list(sys.path)
            try:
                return getattr(self._load(module), name)
            finally:
                sys.path[:] = path

    def _make_stand_ins(self, seed: np.ndarray) -> dict[str, Any]:
        state = np.random.RandomState(seed)
        numpy = types.ModuleType("numpy")
        vars(numpy).update({**vars(np), "random": state})
        bullet_client = types.SimpleNamespace(BulletClient=self._bullet_client)
        return {
            "gym": _old_gym(state),
            "numpy": numpy,
            "random": random.Random(seed.tobytes()),
            "pybullet": self.physics,
            "pybullet_utils": types.SimpleNamespace(bullet_client=bullet_client),
            # Both are deprecated. The one compares versions of gym; nothing uses the other.
            "pkg_resources": types.SimpleNamespace(parse_version=_version),
            "distutils": types.SimpleNamespace(),
        }

    def _bullet_client(self, connection_mode: int | None = None) -> Physics:
        mode = self.physics.DIRECT if connection_mode is None else connection_mode
        self.physics.connect(mode)
        return self.physics

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = None,
        level: int = 0,
    ) -> Any:
        """Does what `__import__` does, for an import statement within the modules."""
        if level:
            name = importlib.util.resolve_name("." * level + name, (globals or {})["__package__"])
        first, *rest = name.split(".")
        if first in self._stand_ins:
            stand_in = self._stand_ins[first]
            return functools.reduce(getattr, rest, stand_in) if fromlist else stand_in
        if first != _PACKAGE and self._find(f"{_PACKAGE}.{first}"):
            name = f"{_PACKAGE}.{name}"  # They put the package's own directory on sys.path.
        elif first != _PACKAGE:
            return builtins.__import__(name, globals, locals, fromlist or (), 0)
        module = self._load(name)
        for attribute in fromlist or ():
            if not hasattr(module, attribute):
                self._load(f"{name}.{attribute}")
        return module if fromlist else self._modules[_PACKAGE]

    def _load(self, name: str) -> types.ModuleType:
        if name not in self._modules:
            parent, _, last = name.rpartition(".")
            package = self._load(parent)
            spec = self._find(name)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            module = self._new_module(name, spec.submodule_search_locations)
            module.__file__ = spec.origin
            self._modules[name] = module
            # What a package's own file does is to import, or register, all that it holds.
            if spec.submodule_search_locations is None:
                exec(spec.loader.get_code(name), vars(module))  # type: ignore[union-attr]
            setattr(package, last, module)
        return self._modules[name]

    def _find(self, name: str) -> ModuleSpec | None:
        return PathFinder.find_spec(name, self._load(name.rpartition(".")[0]).__path__)

    def _new_module(self, name: str, path: Iterable[str] | None) -> types.ModuleType:
        module = types.ModuleType(name)
        vars(module)["__builtins__"] = self._builtins
        module.__package__ = name.rpartition(".")[0] if path is None else name
        if path is not None:
            module.__path__ = list(path)
        return module


def _import_pybullet() -> types.ModuleType:
    with _lock:
        if "pybullet" not in sys.modules:
            with muted():
                importlib.import_module("pybullet")
        return sys.modules["pybullet"]


def _old_gym(state: np.random.RandomState) -> types.SimpleNamespace:
    """What the environments use of gym, with `state` as the one random generator."""
    return types.SimpleNamespace(
        __version__="0.21.0",
        Env=object,
        spaces=types.SimpleNamespace(Box=_box, Discrete=gym.spaces.Discrete),
        utils=types.SimpleNamespace(
            seeding=types.SimpleNamespace(np_random=lambda seed=None: (state, seed))
        ),
    )


def _box(low: Any, high: Any, shape: Any = None, dtype: Any = np.float32) -> gym.spaces.Box:
    # Gymnasium would warn of every bound that is given in float64.
    low, high = (np.full(shape or np.shape(low), bound, dtype) for bound in (low, high))
    return gym.spaces.Box(low, high, dtype=dtype)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _print(*args: Any, **kwargs: Any) -> None:
    """Prints nothing: not the paths and counters that the modules would."""
