"""An alarm within a `tf.data` pipeline, as Reverb's part of it never says that it is stuck."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import ReplayError, ReplayUnavailable
from kerasrl.replay.server.watchdog import Watchdog, can_sample
from kerasrl.replay.weakly import weakly
from kerasrl.warning import warn

_PAUSE = 0.05  # Seconds from one look at the bell to the next.
_PERIOD = 0.5  # Seconds from one look at the server to the next.
_AWAITED = "something to sample"


class Alarm:
    """Ends pipelines with an error when their server is gone, or nothing can be sampled.

    Reverb's dataset goes on trying for ever. So a pipeline waits for a bell beside its data. From
    the moment that something is asked of it, a thread looks at the server and rings the bell when
    something is wrong.

    Args:
        watchdog: `Watchdog` of the server.

    Attributes:
        failure: the error that it rings with, or None. It never stops ringing.
    """

    def __init__(self, watchdog: Watchdog):
        self._watchdog = watchdog
        # It rings once it holds something. TensorFlow would keep some memory for a name of its own.
        self._bell = tf.lookup.experimental.MutableHashTable(
            tf.int64, tf.int64, 0, experimental_is_anonymous=True
        )
        self._closed = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._since = 0.0
        self.failure: ReplayError | None = None

    def guard(
        self, make_stacks: Callable[[], tf.data.Dataset], spec: tf.TensorSpec
    ) -> tf.data.Dataset:
        """Gives what a dataset gives, and empty stacks now and then, until the bell rings.

        Args:
            make_stacks: callable that makes the dataset, so that nothing holds on to it, and to
                its connection, but the iterators.
            spec: `tf.TensorSpec` of the one tensor that it gives, `[None, ...]`.
        """
        begin, fail, bell = weakly(self._begin), weakly(self._fail), self._bell

        def listen(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            begun = tf.cond(
                number == 0, lambda: tf.numpy_function(begin, [], tf.bool), lambda: False
            )
            with tf.control_dependencies([begun]):
                return tf.zeros((0, *spec.shape[1:]), spec.dtype), bell.size() > 0

        def checked(stack: tf.Tensor, rings: tf.Tensor) -> tf.Tensor:
            # Raised here, where it is asked for, and not while nobody asks.
            failing = tf.cond(rings, lambda: tf.numpy_function(fail, [], tf.bool), lambda: False)
            with tf.control_dependencies([failing]):
                return tf.ensure_shape(stack, spec.shape)

        none, all_of_them = tf.constant(0, tf.int64), tf.constant(-1, tf.int64)

        def one_of_two(first: tf.Tensor) -> tf.data.Dataset:
            data = make_stacks().map(lambda stack: (tf.ensure_shape(stack, spec.shape), False))
            rung = _slow_numbers().map(listen)
            chosen = data.take(tf.where(first, all_of_them, none))
            return chosen.concatenate(rung.take(tf.where(first, none, all_of_them)))

        # Not deterministic means: whichever has something to give first.
        both = tf.data.Dataset.from_tensor_slices([True, False]).interleave(
            one_of_two, cycle_length=2, num_parallel_calls=2, deterministic=False
        )
        return both.map(checked)

    def close(self) -> None:
        """Ends the pipelines; to be called before the server stops."""
        with self._starting:
            self._closed.set()
        if self._thread is not None:
            self._thread.join()
        if self.failure is None:
            self._ring(ReplayError("the replay that these batches are drawn from is closed."))

    def _begin(self) -> np.bool_:
        self._watchdog.check_begun()
        self._since = time.monotonic()
        with self._starting:
            if self._thread is None and not self._closed.is_set():
                # Not a daemon, as a thread begun by one of TensorFlow's would be: the process would
                # abort when the interpreter ends while the thread is within Reverb.
                self._thread = threading.Thread(
                    target=self._watch, name="kerasrl-replay-watchdog", daemon=False
                )
                self._thread.start()
        return np.False_

    def _fail(self) -> Any:
        raise self.failure or ReplayError("the replay has failed.")

    def _ring(self, failure: ReplayError) -> None:
        self.failure = self._watchdog.failure = failure
        ringing = tf.constant(1, tf.int64)
        self._bell.insert(ringing, ringing)

    def _watch(self) -> None:
        self._seen, self._warned = time.monotonic(), False
        self._inserted: int | None = None
        try:
            while not self._closed.wait(_PERIOD):
                if not threading.main_thread().is_alive():
                    return
                self._look()
        except ReplayError as failure:
            self._ring(failure)
        except Warning as warning:  # The user has made warnings errors.
            self._ring(ReplayError(str(warning)))

    def _look(self) -> None:
        try:
            info = self._watchdog.look(_AWAITED, time.monotonic() - self._seen)
        except ReplayUnavailable:
            if time.monotonic() - self._seen >= self._watchdog.wait:
                raise
            return
        self._seen = time.monotonic()
        inserted = info.rate_limiter_info.insert_stats.completed
        if can_sample(info) or self._inserted not in (None, inserted):
            self._since = self._seen
        self._inserted = inserted
        self._check_starved(self._seen - self._since)

    def _check_starved(self, seconds: float) -> None:
        """Warns once after a quarter of the timeout, and raises after all of it."""
        if seconds >= self._watchdog.wait:
            raise self._watchdog.starved(_AWAITED, seconds)
        if seconds >= self._watchdog.wait / 4 and not self._warned:
            self._warned = True
            warn(str(self._watchdog.starved(_AWAITED, seconds)))


def _slow_numbers() -> tf.data.Dataset:
    """Numbers from 0, one by one, with pauses that TensorFlow can break off."""
    # One that calls a function, as Dataset.counter() does, may never end when it is broken off.
    numbers = tf.data.Dataset.range(tf.int64.max)
    slow = tf.raw_ops.SleepDataset(
        input_dataset=tf.data.experimental.to_variant(numbers),
        sleep_microseconds=round(1e6 * _PAUSE),
        output_types=[tf.int64],
        output_shapes=[()],
    )
    return tf.data.experimental.from_variant(slow, numbers.element_spec)
