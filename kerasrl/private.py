"""What kerasrl needs of Keras and of Reverb that has no public name; each with the reason.

Private names change without notice, so that all of them are here, and each has a test in
`tests/test_private.py` that fails when it is no more what it was. Nothing else in kerasrl uses any,
which `tests/test_layers.py` sees to.
"""

from contextlib import AbstractContextManager
from typing import Any

import keras
import tensorflow as tf


class ResumableModel(keras.Model):
    """A model whose `fit` may begin in the middle of an epoch, and whose layers may be replaced.

    Keras has a public argument for the epoch to begin with, but none for the step in it; it asks a
    method for both, when all callbacks have begun. Keras 3 goes on to count a layer among a model's
    when the attribute that it was set as has another value.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
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


def _has(model: keras.Model, layer: keras.layers.Layer) -> bool:
    return any(value is layer for value in vars(model).values())


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


def loss_scale(optimizer: keras.mixed_precision.LossScaleOptimizer) -> tf.Variable:
    """The variable of a dynamic loss scale, of which only the value has a public name.

    It goes into files and checkpoints, and is put back from there.
    """
    return optimizer._loss_scale.current_loss_scale


def sharing_objects() -> AbstractContextManager[None]:
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


def checkpoint_messages() -> tuple[Any, Any]:
    """The protocol buffers that Reverb's own files consist of: of a table, and of an item.

    Reverb reads its files into a table of the same name only, and has no public way to rename it.
    """
    from reverb.cc import schema_pb2
    from reverb.cc.checkpointing import checkpoint_pb2

    return checkpoint_pb2.PriorityTableCheckpoint, schema_pb2.PrioritizedItem
