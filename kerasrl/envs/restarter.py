"""Putting new environments in the place of failed ones."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasrl.errors import EnvError, EnvWorkerError
from kerasrl.notes import add_note
from kerasrl.warning import warn


class Restarter:
    """Puts new environments in the place of failed ones, a bounded number of times.

    What it makes of an error:

    - An environment that breaks the rules of its API or of its spaces, an `EnvError`, would do it
      again; so it is raised. An `EnvWorkerError` breaks no rule.
    - Any other `Exception` is a failure. `KeyboardInterrupt` and `SystemExit` are none.

    Args:
        make: callable that makes an environment; None to raise every error.
        limit: int, environments that it may make in all.
        close: callable that closes one.
    """

    def __init__(
        self,
        make: Callable[[], Any] | None,
        limit: int,
        close: Callable[[Any], None] = lambda env: env.close(),
    ):
        self._make = make
        self._limit = limit
        self._close = close
        self.count = 0

    def replace(
        self, failed: Any, error: Exception, where: str, begin: Callable[[Any, int], Any]
    ) -> Any:
        """Makes new environments until one begins an episode.

        Args:
            failed: the environment that failed, which is closed.
            error: what it raised, or the `EnvWorkerError` that this stands for.
            where: str, which environment it is, and what it was doing.
            begin: callable that is given a new environment and the number of the restart.

        Returns:
            What `begin` returned.

        Raises:
            EnvError: when all restarts are used up; the last error is its cause.
            Exception: `error` itself, with `where` as a note, if it is not to be recovered from.
        """
        while True:
            if self._make is None or (
                isinstance(error, EnvError) and not isinstance(error, EnvWorkerError)
            ):
                add_note(error, where)
                raise error
            with contextlib.suppress(Exception):  # Its failure is being reported already.
                self._close(failed)
            self._count(error, where)
            try:
                failed = self._make()
                return begin(failed, self.count)
            except Exception as again:
                error = again

    def _count(self, error: Exception, where: str) -> None:
        if self.count == self._limit:
            raise EnvError(
                f"{where}: failed after max_env_restarts={self._limit} restarts in all; the last "
                f"error was {type(error).__name__}: {error}. Mend the environment, or raise "
                "max_env_restarts."
            ) from error
        self.count += 1
        warn(
            f"{where}: {type(error).__name__}: {error}. Its episode is broken off, and a new "
            f"environment takes its place: restart {self.count} of at most {self._limit}."
        )


def restart_seed(seed: int | None, env: int, restart: int) -> int | None:
    """A seed that a run with the same `seed` derives again, for other episodes than its first."""
    if seed is None:
        return None
    return int(np.random.default_rng([seed, env, restart]).integers(2**31))
