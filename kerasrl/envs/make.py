"""Anything that a user may call an environment, turned into `Environments`."""

import contextlib
import functools
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym

from kerasrl.arguments import whole
from kerasrl.envs.async_workers import let_go_of_messages, warn_of_fork
from kerasrl.envs.env_list import EnvList
from kerasrl.envs.environments import Environments
from kerasrl.envs.fault_policy import FaultPolicy
from kerasrl.envs.vector_env import VectorEnvAdapter
from kerasrl.errors import ArgumentError, ArgumentTypeError
from kerasrl.notes import add_note


def make(env: Any, num_envs: int = 1, faults: FaultPolicy | None = None) -> Environments:
    """Makes a vector of environments out of whatever the user has.

    Args:
        env: a Gymnasium id, a `gymnasium.Env`, a `gymnasium.vector.VectorEnv`, or a callable (a
            class, too) that makes either. What is made here is closed by `close()`; what was given
            stays open.
        num_envs: int, how many to make of an id or a callable.
        faults: `FaultPolicy`, what is done when one fails; by default its error is raised.

    Returns:
        `Environments`.

    Raises:
        ArgumentTypeError: when `env` is none of these.
        ArgumentError: when `num_envs` or `faults` does not go with `env`.
    """
    num_envs = whole("num_envs", num_envs)
    faults = FaultPolicy() if faults is None else faults
    if isinstance(env, str):
        return _make_list(lambda: gym.make(env, disable_env_checker=True), num_envs, faults)
    if isinstance(env, gym.Env):
        _check_alone(env, num_envs, 1)
        _check_restarts(env, faults)
        return EnvList([env], owned=False, faults=faults)
    if isinstance(env, gym.vector.VectorEnv):
        _check_alone(env, num_envs, env.num_envs)
        _check_restarts(env, faults)
        return VectorEnvAdapter(env, owned=False, faults=faults)
    if callable(env):
        return _make_list(env, num_envs, faults)
    raise ArgumentTypeError(
        "expected a Gymnasium id, a gymnasium.Env, a gymnasium.vector.VectorEnv or a callable that "
        f"makes one; received {env!r} of type {type(env).__name__}."
    )


def _make_list(make_one: Callable[[], Any], num_envs: int, faults: FaultPolicy) -> Environments:
    again = functools.partial(_make_one, make_one) if faults.on_env_error == "restart" else None
    with contextlib.ExitStack() as made:
        envs = [_make_one(make_one, made)]
        environments: Environments
        if isinstance(envs[0], gym.vector.VectorEnv):
            _check_alone(envs[0], num_envs, envs[0].num_envs)
            environments = VectorEnvAdapter(envs[0], owned=True, faults=faults, make=again)
        else:
            envs += [_make_one(make_one, made) for _ in range(num_envs - 1)]
            environments = EnvList(envs, owned=True, faults=faults, make=again)
        made.pop_all()
        return environments


def _make_one(make_one: Callable[[], Any], made: contextlib.ExitStack | None = None) -> Any:
    try:
        with _processes_ignore_interrupts():
            env = make_one()
    except Exception as error:
        let_go_of_messages(error)
        _advise(error)
        raise
    if made is not None and hasattr(env, "close"):
        made.callback(env.close)
    _check_made(env)
    warn_of_fork(env)
    return env


@contextlib.contextmanager
def _processes_ignore_interrupts() -> Iterator[None]:
    """Has processes that are started meanwhile ignore Ctrl-C, which a terminal sends to all.

    A worker that ended by it would break off the step that the run waits for. So does this process
    meanwhile: only what is ignored stays so in a new program. Python allows it in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _advise(error: Exception) -> None:
    """Says what to do about a missing extra, or about workers that cannot be started."""
    if isinstance(error, pickle.PicklingError) or "pickle" in str(error):
        add_note(
            error,
            "What makes an environment goes to a worker process pickled. Have it make what cannot "
            "be pickled (locks, open files, simulators) itself, from plain arguments.",
        )
    elif isinstance(error, EOFError | ConnectionError):
        add_note(
            error,
            "A worker process ended as it started, and may have printed why. Under the context "
            '"spawn" or "forkserver" a script must start from within `if __name__ == "__main__":`.',
        )
    elif isinstance(error, gym.error.DependencyNotInstalled) and "Box2D" in str(error):
        add_note(error, 'With kerasrl, Box2D is installed by: pip install "kerasrl[box2d]"')
    elif isinstance(error, gym.error.NamespaceNotFound) and "ALE" in str(error):
        add_note(
            error,
            'Atari games come by lambda: kerasrl.envs.atari("ALE/Pong-v5"), and are installed by: '
            'pip install "kerasrl[atari]"',
        )


def _check_made(env: Any) -> None:
    if not isinstance(env, gym.Env | gym.vector.VectorEnv):
        raise ArgumentTypeError(
            "a callable given as environment must return a gymnasium.Env or a "
            f"gymnasium.vector.VectorEnv; it returned {env!r} of type {type(env).__name__}."
        )


def _check_restarts(env: Any, faults: FaultPolicy) -> None:
    if faults.on_env_error == "restart":
        raise ArgumentError(
            'on_env_error="restart" needs an id or a callable to make environments from; received '
            f"{env}. Pass its id, or a callable such as lambda: MyEnv()."
        )


def _check_alone(env: Any, num_envs: int, held: int) -> None:
    if num_envs not in (1, held):
        raise ArgumentError(
            f"num_envs={num_envs} needs an id or a callable to make environments from; received "
            f"{env}, which holds {held}. Pass its id, or a callable such as lambda: MyEnv()."
        )
