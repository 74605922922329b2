"""What kerasrl needs of Keras, Reverb and TensorFlow that has no public name; each with the reason.

Private names change without notice, so that all of them are here, and each has a test in
`tests/test_private.py` that fails when it is no more what it was. Nothing else in kerasrl uses any,
which `tests/test_layers.py` sees to.
"""

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf


class ResumableModel(keras.Model):
    """A model whose `fit` may begin in the middle of an epoch, and whose layers may be replaced.

    Keras has a public argument for the epoch to begin with, but none for the step in it; it asks a
    method for both, when all callbacks have begun. Keras 3 takes no more layers once a model is
    built, and goes on to count one among them when its attribute has another value.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        with _unlocked(self, value):
            super().__setattr__(name, value)
        replaced = isinstance(before, keras.layers.Layer) and before is not value
        if replaced and hasattr(self, "_tracker") and not _has(self, before):
            self._tracker.untrack(before)

    def initial_counters(
        self, initial_epoch: int, steps_per_epoch: int | None
    ) -> tuple[int, int] | None:
        """The epoch and the step in it to begin with; None for those that `fit` was given."""
        return None

    def _maybe_load_initial_counters_from_ckpt(
        self, steps_per_epoch: int | None, initial_epoch: int
    ) -> tuple[int, int]:
        counters = self.initial_counters(initial_epoch, steps_per_epoch)
        return counters or super()._maybe_load_initial_counters_from_ckpt(
            steps_per_epoch, initial_epoch
        )


@contextlib.contextmanager
def _unlocked(model: keras.Model, value: Any) -> Iterator[None]:
    tracker = vars(model).get("_tracker")
    locked = isinstance(value, keras.layers.Layer) and getattr(tracker, "locked", False)
    if not locked:
        yield
        return
    tracker.unlock()
    try:
        yield
    finally:
        tracker.lock()


def _has(model: keras.Model, layer: keras.layers.Layer) -> bool:
    return any(value is layer for value in vars(model).values())


def restored_epoch(model: keras.Model) -> int | None:
    """Takes the epoch that `BackupAndRestore` of Keras 3 would begin with; None without one."""
    epoch, model._initial_epoch = getattr(model, "_initial_epoch", None), None
    return epoch


def in_turn(callbacks: keras.callbacks.CallbackList) -> None:
    """Has a list of callbacks be called one after another, however long that takes.

    Keras 2 warns of those that take longer than the updates, as collecting is meant to; Keras 3
    calls some from threads, where nobody can tell what they have done. Neither has a public way to
    say so.
    """
    callbacks._check_timing = False
    callbacks._async_train = callbacks._async_test = False


def rename(network: keras.Model, name: str) -> None:
    """Gives a network another name, which Keras 2 offers when one is made, and not for a copy."""
    if hasattr(network, "_name"):
        network._name = name
    else:  # Of Keras 3.
        network.name = name


def made_to_be_trained(layers: Iterable[keras.layers.Layer]) -> list[Any]:
    """The variables that layers made for training, though the layers may be frozen by now.

    A frozen layer of Keras 3 has its variables say that they are not trained, and tells by lists of
    its own which would be; one of Keras 2 leaves them as they were made.

    Args:
        layers: all that there are, those within others too.
    """
    made: list[Any] = []
    for layer in layers:
        kept = getattr(layer, "_trainable_variables", None)
        made += [v for v in layer.weights if v.trainable] if kept is None else kept
    return made


def loss_scale(optimizer: keras.mixed_precision.LossScaleOptimizer) -> tf.Variable:
    """The variable of a dynamic loss scale, of which only the value has a public name.

    It goes into files and checkpoints, and is put back from there.
    """
    return optimizer._loss_scale.current_loss_scale


def sharing_objects() -> contextlib.AbstractContextManager[None]:
    """A context in which Keras, when it serializes, marks what it has serialized before.

    Without, a layer that several networks have would come back as several. Keras has it for whole
    files only, which it writes with names for variables that differ between its versions.
    """
    from keras.src.saving.serialization_lib import ObjectSharingScope

    return ObjectSharingScope()


def forget_unmade_variables() -> None:
    """Has Keras 3 forget the variables that it was about to make when an error came.

    It would try to make them with those of the next model, and fail. Keras 2 has no such list.
    """
    from keras.src.backend.common import global_state

    global_state.set_global_attribute("uninitialized_variables", [])


def keep_functions(owner: Any, definition: Any) -> None:
    """Has TensorFlow know the functions that a graph calls, for as long as something exists.

    A graph that is imported brings them along, and a loop in it finds them; one that is a
    `tf.function`'s looks for them elsewhere, where only those are that were traced.

    Args:
        owner: what the functions are there for; it can be weakly referenced.
        definition: `GraphDef`. A name stands for one function only.
    """
    from tensorflow.python.eager import context

    known = context.context()
    names = [function.signature.name for function in definition.library.function]
    new = [name for name in names if not known.has_function(name)]
    for function in definition.library.function:
        if function.signature.name in new:
            known.add_function_def(function)
    weakref.finalize(owner, _forget_functions, new).atexit = False


def _forget_functions(names: list[str]) -> None:
    from tensorflow.python.eager import context

    for name in names:
        context.context().remove_function(name)


def checkpoint_messages() -> tuple[Any, Any]:
    """The protocol buffers that Reverb's own files consist of: of a table, and of an item.

    Reverb reads its files into a table of the same name only, and has no public way to rename it.
    """
    from reverb.cc import schema_pb2
    from reverb.cc.checkpointing import checkpoint_pb2

    return checkpoint_pb2.PriorityTableCheckpoint, schema_pb2.PrioritizedItem
