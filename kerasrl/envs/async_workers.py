"""The worker processes of an `AsyncVectorEnv`: what became of them, and how to be rid of them."""

import contextlib
import functools
import multiprocessing
import time
import traceback
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from gymnasium.error import NoAsyncCallError
from gymnasium.vector import AsyncVectorEnv, VectorEnv

from kerasrl import system
from kerasrl.errors import EnvWorkerError
from kerasrl.warning import warn

_SECONDS_TO_DIE = 5.0  # From the end of a connection to that of its process.
_SECONDS_TO_CLOSE = 5.0
_SECONDS_TO_REPORT = 5.0


class AsyncWorkers:
    """Watches the worker processes of an `AsyncVectorEnv`, which waits for them without end.

    While it watches, `step` and `reset` raise `multiprocessing.TimeoutError` when a worker has not
    answered in time, also when they are called through wrappers.

    Args:
        env: `gymnasium.vector.AsyncVectorEnv`.
        timeout: float, seconds that a step or a reset may take.
    """

    def __init__(self, env: AsyncVectorEnv, timeout: float):
        self._env = env
        self._timeout = timeout
        self._reports: list[tuple[int, BaseException]] = []
        self._stuck: list[int] = []
        self._before: list[tuple[Any, str, Any]] = []
        self._replace(env, "step_wait", self._wait)
        self._replace(env, "reset_wait", self._wait)
        self._replace(env.error_queue, "get", self._get)

    @classmethod
    def of(cls, env: VectorEnv, timeout: float) -> "AsyncWorkers | None":
        """Watches the workers of `env`, if it is an `AsyncVectorEnv`, in wrappers or not."""
        inner = env.unwrapped
        return cls(inner, timeout) if isinstance(inner, AsyncVectorEnv) else None

    def explain(self, error: Exception) -> tuple[Exception, list[int]]:
        """What a failed `step` or `reset` was really about.

        Args:
            error: what it raised.

        Returns:
            The error to raise instead, or the same; and the workers it is about, if that is known.
        """
        let_go_of_messages(error)
        if self._reports:
            worker, reported = self._reports[-1]  # The one that Gymnasium raises a copy of.
            self._reports = []
            return (reported if isinstance(reported, Exception) else error), [worker]
        if isinstance(error, multiprocessing.TimeoutError):
            dead = self._dead()
            if not dead:
                return self._unanswered()
        elif isinstance(error, EOFError | ConnectionError) or self._lost():
            dead = self._await_death()
        else:
            dead = []
        if not dead:
            return error, []
        self._settle(dead)
        self._raise_interrupts()
        return EnvWorkerError(_died(self._processes(dead))), dead

    def finish_call(self) -> None:
        """Takes the answers to a call that was broken off, so that the next one can be made."""
        for name in ("step_wait", "reset_wait", "call_wait"):
            with contextlib.suppress(Exception):  # Nobody waits for them, and few are there.
                getattr(self._env, name)(timeout=self._timeout)

    def release(self) -> None:
        """Stops watching."""
        for owner, name, before in self._before:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._before = []

    def close(self) -> None:
        """Has the workers close their environments and end; kills those that do not."""
        if not self._env.closed:
            for _, process in self._processes(self._stuck):
                process.kill()
            self._ask_to_close()
            for process in self._env.processes:
                process.kill()
            self._settle(range(len(self._env.processes)))
        self.release()
        self._env.close(terminate=True)
        self._env.error_queue.close()

    def _replace(self, owner: Any, name: str, function: Any) -> None:
        """Puts `function`, which is given the method, in the place of a method of one object."""
        method = getattr(type(owner), name)
        self._before.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, functools.partial(function, functools.partial(method, owner)))

    def _wait(self, wait_for_all: Any, timeout: float | None = None) -> Any:
        if timeout is None and not self._answered():
            timeout = 0.0
        return wait_for_all(timeout)

    def _answered(self) -> bool:
        """Waits until all have answered, and not beyond the death of one, whatever others do."""
        return system.wait_for_all(self._env.parent_pipes, self._timeout)

    def _get(self, get: Any) -> Any:
        """Takes a worker's report of an error, which is missing if it could not be pickled."""
        try:
            report = get(timeout=_SECONDS_TO_REPORT)
        except Exception as error:
            raise EnvWorkerError(
                "an env worker failed with an error that cannot be pickled, so that it was not "
                "passed on. The worker may have printed it. Raise errors of plain arguments."
            ) from error
        self._reports.append((report[0], report[2]))
        return report

    def _await_death(self) -> list[int]:
        """The dead workers, of which at least one has lost its connection and is about to die."""
        processes = self._env.processes
        ended = wait([process.sentinel for process in processes], _SECONDS_TO_DIE)
        for process in processes:
            if process.sentinel in ended:
                process.join(_SECONDS_TO_DIE)
        return self._dead()

    def _dead(self) -> list[int]:
        return [i for i, process in enumerate(self._env.processes) if not process.is_alive()]

    def _lost(self) -> bool:
        """Whether a worker has reported an error before, after which it has ended."""
        return None in self._env.parent_pipes

    def _unanswered(self) -> tuple[Exception, list[int]]:
        self._stuck = [i for i, pipe in enumerate(self._env.parent_pipes) if not pipe.poll()]
        names = " and ".join(_name(i, process) for i, process in self._processes(self._stuck))
        error = EnvWorkerError(
            f"{names} did not answer within env_timeout={self._timeout} seconds. Raise env_timeout "
            "if a step or a reset may take so long."
        )
        return error, self._stuck

    def _processes(self, workers: list[int]) -> list[tuple[int, Any]]:
        return [(i, self._env.processes[i]) for i in workers]

    def _ask_to_close(self) -> None:
        for pipe in self._env.parent_pipes:
            if pipe is not None and not pipe.closed:
                with contextlib.suppress(EOFError, OSError):
                    while pipe.poll():
                        pipe.recv()
                    pipe.send(("close", None))
        deadline = time.monotonic() + _SECONDS_TO_CLOSE
        for process in self._env.processes:
            process.join(max(0.0, deadline - time.monotonic()))

    def _settle(self, workers: Any) -> None:
        """Drops the connections to workers, and the call that waits for them.

        Without it `env.close(terminate=True)` would wait for the answer of a dead worker, and fail.
        """
        for i in workers:
            if self._env.parent_pipes[i] is not None:
                self._env.parent_pipes[i].close()
        for name in ("step_wait", "reset_wait", "call_wait"):
            with contextlib.suppress(multiprocessing.TimeoutError, NoAsyncCallError):
                getattr(self._env, name)(timeout=0)

    def _raise_interrupts(self) -> None:
        """Ctrl-C in a terminal reaches workers too, which end and leave it in the queue."""
        with contextlib.suppress(EnvWorkerError):
            while not self._env.error_queue.empty():
                if issubclass(self._env.error_queue.get()[1], KeyboardInterrupt):
                    raise KeyboardInterrupt
        self._reports = []


def warn_of_fork(env: Any) -> None:
    """Warns when the workers of an environment just made were forked while gRPC is at work."""
    inner = env.unwrapped
    if isinstance(inner, AsyncVectorEnv) and system.was_forked(inner.processes[0]) and _grpc_runs():
        warn(
            f"the workers of {env} were forked from a process in which a replay has run. gRPC, "
            "which Reverb is built on, does not allow for that, and they may hang. Pass context="
            '"forkserver" or "spawn" to AsyncVectorEnv.'
        )


def let_go_of_messages(error: Exception) -> None:
    """Has an error's traceback keep no message that could not be sent to a worker.

    Python 3.12.0 and 3.12.1 crash when they collect such a message in a cycle of references, where
    errors often are: https://github.com/python/cpython/issues/111049.
    """
    if isinstance(error, ConnectionError):
        traceback.clear_frames(error.__traceback__)


def _grpc_runs() -> bool:
    names = (path.read_text() for path in Path("/proc/self/task").glob("*/comm"))
    return any(name.startswith("grpc") for name in names)


def _died(processes: list[tuple[int, Any]]) -> str:
    return " ".join(
        f"{_name(i, process)} died, exit code {process.exitcode}{system.meaning(process.exitcode)}."
        for i, process in processes
    )


def _name(worker: int, process: Any) -> str:
    return f"env worker {worker} (pid {process.pid})"
