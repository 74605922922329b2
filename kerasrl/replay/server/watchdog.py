"""Waiting for a replay's server, which may be gone."""

import concurrent.futures
import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import reverb

from kerasrl.errors import KerasRLError, ReplayError, ReplayRestarted, ReplayUnavailable
from kerasrl.replay.waiting import Waiting

_LOOK = 5  # Seconds that a server which is alive may take to say so, on a machine that is busy.
_Result = TypeVar("_Result")


class Watchdog(Waiting):
    """Tells apart why something waits too long: a dead server, another one, or an empty table.

    Reverb's samplers and writers wait for ever for a server that is gone. A server that is started
    in its place is told by its table, whose name no other server has.

    Args:
        address: str, the server's address.
        table: str, the name of its table.
        timeout: float, seconds that a call may take before it is an error.

    Attributes:
        patience: float, seconds of the timeout to ask the server what is wrong; see `Waiting` for
            `wait`, which is the rest of them, and for what else there is.
    """

    def __init__(self, address: str, table: str, timeout: float):
        self.patience = max(1.0, min(_LOOK, timeout / 2))
        super().__init__(max(timeout - self.patience, timeout / 2))
        self._client: Any = reverb.Client(address)
        self._address = address
        self._table = table
        self._last: Any = None

    def look(self, awaited: str, waited: float = 0.0, patience: float | None = None) -> Any:
        """Asks the server for its account of the table.

        Args:
            awaited: str, what is waited for, for the error.
            waited: float, seconds that it has been waited for already.
            patience: float, seconds to wait for the answer; some by default.

        Returns:
            `reverb.TableInfo`.

        Raises:
            ReplayUnavailable: when the server does not answer.
            ReplayRestarted: when another one answers.
        """
        patience = math.ceil(self.patience if patience is None else patience)
        if self._client is None:
            raise ReplayError(f"the replay was closed while waiting for {awaited}.")
        try:
            tables = self._client.server_info(patience)
        except (RuntimeError, reverb.errors.ReverbError) as error:
            raise ReplayUnavailable(
                f"the replay's server at {self._address} does not answer: "
                f"{waited + patience:.1f} s were spent waiting for {awaited}. "
                f"{self.holdings()} If it has died, what it held is lost; start again, from a "
                "checkpoint if there is one."
            ) from error
        if self._table not in tables:
            raise ReplayRestarted(
                f"another server answers at {self._address} while waiting for {awaited}: it has "
                f"the tables {sorted(tables)}, and ours was {self._table}. {self.holdings()} That "
                "is lost; start again, from a checkpoint if there is one."
            )
        self._last = tables[self._table]
        return self._last

    def close(self) -> None:
        """Lets go of the server."""
        self._client = None

    def holdings(self) -> str:
        """What the table held when it was looked at last, as a sentence."""
        if self._last is None:
            return "What its table holds is not known."
        limiter = self._last.rate_limiter_info
        return (
            f"Its table held {self._last.current_size} items of at most {self._last.max_size}, "
            f"with {limiter.insert_stats.completed} inserted and "
            f"{limiter.sample_stats.completed} sampled so far; it can be sampled from "
            f"{limiter.min_size_to_sample} on."
        )

    def find_failure(self) -> ReplayError | None:
        """The `failure`; looks for one if none is known."""
        if self.failure is None:
            with contextlib.suppress(ReplayError), self.recording():
                self.look("an account of the table")
        return self.failure

    def explain(self, awaited: str, error: Exception) -> ReplayError:
        """The error to raise in the place of one of Reverb's own."""
        waited = self.wait if isinstance(error, reverb.errors.DeadlineExceededError) else 0.0
        try:
            self.look(awaited, waited)
        except ReplayError as failure:
            self.failure = failure
            return failure
        return super().explain(awaited, error)

    @contextlib.contextmanager
    def guarding(self, awaited: str) -> Iterator[None]:
        """Turns Reverb's errors into ours."""
        try:
            yield
        except KerasRLError:
            raise
        except (RuntimeError, ValueError, reverb.errors.ReverbError) as error:
            raise self.explain(awaited, error) from error

    def bounded(self, function: Callable[[], _Result], awaited: str) -> _Result:
        """Calls a function that Reverb may hold up for ever, and waits for `wait` at most.

        A thread that is held up cannot be ended. It is left behind, which only happens to a server
        that dies while it is at work.
        """
        self.look(awaited)
        future: concurrent.futures.Future = concurrent.futures.Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        with self.guarding(awaited):
            threading.Thread(target=call, name="kerasrl-replay-call", daemon=True).start()
            concurrent.futures.wait([future], self.wait)
            if not future.done():
                raise reverb.errors.DeadlineExceededError(f"no answer within {self.wait:g} s")
            return future.result()


def can_sample(info: Any) -> bool:
    """Whether a table's rate limiter lets one more item be sampled."""
    limiter = info.rate_limiter_info
    ahead = limiter.insert_stats.completed * limiter.samples_per_insert
    difference = ahead - limiter.sample_stats.completed - 1
    return info.current_size >= limiter.min_size_to_sample and difference >= limiter.min_diff
