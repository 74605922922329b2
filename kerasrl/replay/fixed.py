"""A dataset in the place of a store."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.errors import ArgumentError, ArgumentTypeError, ReplayError
from kerasrl.experience.packing import Packer
from kerasrl.replay import conforming
from kerasrl.replay.dataset import pipeline_options
from kerasrl.replay.replay import Replay, not_open
from kerasrl.replay.weakly import weakly

_TOLERANCE = 1e-5  # Of the bounds of a Box, for what was rounded.


class Fixed(Replay):
    """A `tf.data.Dataset` of batches, which is sampled as it is; nothing goes in.

    `fit(dataset)` is a run on it. Batches are checked as far as their specs tell when it is opened;
    integers by their values, when they come. Columns that `open` is not told of stay as they are.

    Args:
        dataset: `tf.data.Dataset` of dicts of nests of `[B, ...]` tensors.

    Raises:
        ArgumentTypeError: when it is no dataset.
    """

    fixed = True

    def __init__(self, dataset: tf.data.Dataset):
        if not isinstance(dataset, tf.data.Dataset):
            raise ArgumentTypeError(
                f"Fixed takes a tf.data.Dataset; received {type(dataset).__name__}."
            )
        self._dataset = dataset
        self._spec: Any = None
        self._failure: ArgumentError | None = None

    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Checks that the dataset has batches of a spec.

        Args:
            spec: dict of nests of `tf.TensorSpec`, without a batch dimension.
            seed: of no effect; the dataset has its own.
            checkpoint: of no effect, as `save` writes nothing.

        Raises:
            ArgumentError: when it has other batches.
        """
        check_columns(spec, self._dataset)
        element = self._dataset.element_spec

        def check(path: str, spec: tf.TensorSpec, value: tf.TensorSpec) -> None:
            if not isinstance(value, tf.TensorSpec):
                raise ArgumentError(f"{path} must be a tensor; received {value}.")
            column = value.shape.rank == 2 and value.shape[-1] == 1 and spec.shape.rank == 0
            conforming.check_batched(path, spec, value.shape[:1] if column else value.shape)
            conforming.check_dtype(path, spec, value.dtype)

        for key, leaves in spec.items():
            conforming.map_leaves(check, leaves, element[key], key)
        self._spec = spec

    @property
    def packer(self) -> Packer:
        """Raises `ReplayError`: nothing goes in."""
        raise self._closed_to_items()

    @property
    def size(self) -> int:
        """int, batches of the dataset; 0 where it does not tell."""
        return max(0, int(self._dataset.cardinality()))

    def insert(self, rows: np.ndarray) -> None:
        """Raises `ReplayError`: nothing goes in."""
        raise self._closed_to_items()

    def dataset(self, batch_size: int | None = None) -> tf.data.Dataset:
        """The dataset, cast to what it was opened for.

        Args:
            batch_size: None, as its batches are what they are.

        Raises:
            ReplayError: when it is not open.
        """
        if self._spec is None:
            raise not_open()
        if batch_size is not None:
            raise ArgumentError(
                f"a Fixed replay has its own batches; received batch_size={batch_size!r}. Leave it "
                "out."
            )
        return self._dataset.map(self._conformed).with_options(pipeline_options())

    def save(self, directory: Path, batches: int) -> None:
        """Writes nothing: whoever has the dataset has it all."""

    def failure(self) -> ArgumentError | None:
        """The error behind the TensorFlow error that the dataset ended with, if it is of here."""
        return self._failure

    def close(self) -> None:
        """Does nothing."""

    def within(self, path: str, value: tf.Tensor, low: Any, high: Any) -> tf.Tensor:
        """Has what is beyond its bounds, or NaN, end the dataset with an error that says so.

        Args:
            path: str, what the value is called.
            value: `[B, ...]` tensor.
            low: number or array `[...]`, the least that it may be, but for rounding.
            high: the greatest.
        """
        wide = value if value.dtype.is_floating else tf.cast(value, tf.int64)
        least, most = low, high
        if value.dtype.is_floating:
            least, most = low - _slack(low), high + _slack(high)
        inside = (wide >= tf.constant(least, wide.dtype)) & (wide <= tf.constant(most, wide.dtype))
        refuse = functools.partial(weakly(self._refuse), path, low, high)
        checked = tf.cond(
            tf.reduce_all(inside),
            lambda: False,
            lambda: tf.ensure_shape(tf.numpy_function(refuse, [wide], tf.bool), ()),
        )
        with tf.control_dependencies([checked]):
            return tf.identity(value)

    def _conformed(self, batch: dict[str, Any]) -> dict[str, Any]:
        cast = {
            key: conforming.map_leaves(self._cast, spec, batch[key], key)
            for key, spec in self._spec.items()
        }
        return {**batch, **cast}

    def _cast(self, path: str, spec: tf.TensorSpec, value: tf.Tensor) -> tf.Tensor:
        if spec.shape.rank == 0 and value.shape.rank == 2:  # A column.
            value = tf.squeeze(value, axis=-1)
        value = tf.ensure_shape(value, [None, *spec.shape])
        if value.dtype == spec.dtype:
            return value
        if spec.dtype.is_integer and value.dtype.is_integer:
            low, high = max(spec.dtype.min, tf.int64.min), min(spec.dtype.max, tf.int64.max)
            value = self.within(path, value, low, high)
        return tf.cast(value, spec.dtype)

    def _refuse(self, path: str, low: Any, high: Any, values: np.ndarray) -> np.bool_:
        beyond = values[~((values >= low) & (values <= high))]
        worst = beyond[np.abs(beyond).argmax()]  # A NaN, if there is one.
        self._failure = ArgumentError(
            f"{path} of the dataset must be within {np.min(low)} to {np.max(high)}; received "
            f"{worst}. Mend the dataset, or build the agent for other spaces."
        )
        raise self._failure

    def _closed_to_items(self) -> ReplayError:
        return ReplayError(
            "a Fixed replay is a dataset, and nothing goes in. Call fit(dataset) without an "
            "environment, or collect into a Uniform."
        )


def check_columns(keys: Iterable[str], dataset: tf.data.Dataset) -> None:
    """Raises `ArgumentError` unless a dataset yields dicts that have these keys."""
    element = dataset.element_spec
    if not isinstance(element, dict) or not set(keys) <= set(element):
        received = sorted(element) if isinstance(element, dict) else element
        raise ArgumentError(
            f"a dataset must yield dicts with {sorted(keys)}, each batched; received {received}."
        )


def _slack(bound: np.ndarray) -> np.ndarray:
    """What rounding may add to a bound."""
    return _TOLERANCE * np.maximum(np.where(np.isfinite(bound), np.abs(bound), 0), 1)
