"""What Keras takes for the end of the data, and what of it is another's error."""

import types
from typing import Any

import keras
import tensorflow as tf

from kerasrl.run import Run

_ENDS = (StopIteration, tf.errors.OutOfRangeError)


class CarriedError(Exception):
    """Brings an error past Keras, which would end the epoch and say nothing.

    Args:
        error: what was raised.
    """

    def __init__(self, error: Exception):
        super().__init__(repr(error))
        self.error = error


class _Carrying:
    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        if isinstance(error, _ENDS):
            raise CarriedError(error)


#: Context in which nothing is the end of the data, whatever is raised in it.
carrying = _Carrying()


class TrainFunction:
    """Keras's function that takes gradient steps, whose errors do not pass for the end of the data.

    Data that environments give do not end, and a dataset ends in its iterator alone, not in the
    Python of a network.

    Args:
        agent: the agent.
        function: callable of an iterator, what `keras.Model.make_train_function` made.
    """

    def __init__(self, agent: keras.Model, function: Any):
        self._agent = agent
        self._function = function

    def __call__(self, *args: Any) -> Any:
        """Takes the gradient steps of an execution."""
        try:
            return self._function(*args)
        except _ENDS as error:
            if _ends_data(self._agent.run, error):
                raise
            raise CarriedError(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_function"], name)


def _ends_data(run: Run | None, error: Exception) -> bool:
    if run is not None and run.environments is not None:
        return False
    # An iterator of TensorFlow's raises StopIteration while it handles the other.
    cause = error.__context__ if isinstance(error, StopIteration) else error
    return isinstance(cause, tf.errors.OutOfRangeError) and "End of sequence" in str(cause)
