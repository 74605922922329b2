"""Batches of several replays."""

import fractions
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasrl.arguments import whole
from kerasrl.errors import ArgumentError, ArgumentTypeError, ReplayError
from kerasrl.experience.packing import Packer
from kerasrl.files.atomic import explained
from kerasrl.replay import contents
from kerasrl.replay.dataset import pipeline_options
from kerasrl.replay.replay import Replay, not_open

_MOST_BATCHES = 64  # Drawn at once, so that the shares hold exactly.
_SALT = 0x9E3779B97F4A7C15  # The golden ratio: no two keys of two replays are alike.


class Mixture(Replay):
    """Replays that are sampled together, each for a fixed share of every batch.

    What is collected goes into the first; the others hold what they were filled with before `fit`,
    such as demonstrations. The shares hold exactly: where one of them is no whole number of
    examples, two batches differ by one, and as many batches are drawn at once as it takes.

    Where one of the replays has priorities, batches have `key` and `weight`; the weights of what
    has no priority are 1, and each replay's are divided by the greatest among its own in the batch.

    Args:
        replays: dict of `Replay`s, by names of any kind; a `Fixed` dataset goes round and round.
        shares: dict of float, positive: the share of each. They add up to 1.

    Raises:
        ArgumentError: when there are not the same names in both, a share is not positive, or they
            do not add up to 1; when the first replay is a `Fixed`, into which nothing can go.
        ArgumentTypeError: when one is no replay, or gives each item once, as a `Queue` does.

    Reference:
        Paine et al., "Making efficient use of demonstrations to solve hard exploration problems"
        (R2D3), 2020, section 2.
    """

    def __init__(self, replays: Mapping[str, Replay], shares: Mapping[str, float]):
        _check(replays, shares)
        self.replays = dict(replays)
        self.shares = {name: float(shares[name]) for name in replays}
        self.priorities = any(replay.priorities for replay in replays.values())
        self._live = next(iter(self.replays.values()))
        self._salts = [_salt(number) for number in range(len(self.replays))]
        self._spec: dict[str, Any] | None = None
        self._settings: dict[str, Any] = {
            "replay": type(self).__name__,
            "replays": {name: type(replay).__name__ for name, replay in replays.items()},
            "shares": self.shares,
        }
        self._batches_before = 0  # That were trained on before the newest checkpoint.
        self._together = 1  # Batches that are drawn at once.

    def open(
        self, spec: dict[str, Any], seed: int | None = None, checkpoint: Path | None = None
    ) -> None:
        """Opens every replay; see `Uniform.open`.

        Args:
            spec: dict of nests of `tf.TensorSpec`: one item, without a batch dimension.
            seed: int, makes sampling repeatable: each replay has another one, made of it.
            checkpoint: path of a directory that `save` wrote.

        Raises:
            LoadError: when the checkpoint is damaged.
            MismatchError: when it was saved with other replays or shares.
            ReplayError: when one of the replays cannot be opened so.
        """
        batches = 0
        if checkpoint is not None:
            _, state = contents.read(checkpoint, self._settings)
            with contents.damaged_if_wrong():
                batches = whole("batches", state["batches"], least=0)
        for number, replay in enumerate(self.replays.values()):
            own = None if seed is None else _seed(seed, number)
            where = {} if checkpoint is None else {"checkpoint": checkpoint / str(number)}
            replay.open(spec, own, **where)
        self._spec, self._batches_before = spec, batches

    @property
    def packer(self) -> Packer:
        """`Packer` of the items."""
        return self._live.packer

    @property
    def capacity(self) -> int:
        """int, items that the first replay can hold."""
        return self._live.capacity  # type: ignore[attr-defined]  # It is not fixed.

    @property
    def size(self) -> int:
        """int, items of the first replay that can be sampled."""
        return self._live.size

    def insert(self, rows: np.ndarray) -> None:
        """Adds items to the first replay."""
        self._live.insert(rows)

    def flush(self) -> None:
        """Waits until what was inserted can be sampled."""
        self._live.flush()

    def dataset(self, batch_size: int) -> tf.data.Dataset:
        """Endless batches, each of all replays.

        Args:
            batch_size: int, items in a batch.

        Returns:
            `tf.data.Dataset` of dicts of nests of `[batch_size, ...]` tensors.

        Raises:
            ArgumentError: when it takes more than 64 batches for the shares to hold.
            ReplayError: when it is not open, or a replay beside the first is empty.
        """
        if self._spec is None:
            raise not_open()
        batch_size = whole("batch_size", batch_size)
        for name, replay in self.replays.items():
            if replay is not self._live and not replay.fixed and replay.size == 0:
                raise ReplayError(f"the replay {name!r} of the mixture is empty; fill it before.")
        self._together = _batches_at_once(batch_size, self.shares)
        counts = [round(share * batch_size * self._together) for share in self.shares.values()]
        before, begun = divmod(self._batches_before, self._together)
        each = zip(self.replays.values(), self._salts, counts, strict=True)
        parts = tuple(self._part(replay, salt, count, before) for replay, salt, count in each)
        order = _spread(counts).reshape(self._together, batch_size)

        def mixed(*batches: dict[str, Any]) -> dict[str, Any]:
            return tf.nest.map_structure(
                lambda *leaves: tf.gather(tf.concat(leaves, 0), order), *batches
            )

        batches = tf.data.Dataset.zip(parts).map(mixed).unbatch()
        return batches.skip(begun).with_options(pipeline_options())

    def save(self, directory: Path, batches: int) -> None:
        """Writes all replays; see `Uniform.save`."""
        begun = self._batches_before % self._together
        for number, replay in enumerate(self.replays.values()):
            place = directory / str(number)
            with explained(directory):
                place.mkdir()
            replay.save(place, (begun + batches) // self._together)
        state = {"batches": self._batches_before + batches}
        contents.write_state(directory, self._settings, state)

    def failure(self) -> Exception | None:
        """The first error of a replay behind the TensorFlow error that the dataset ended with."""
        failures = (replay.failure() for replay in self.replays.values())
        return next((failure for failure in failures if failure is not None), None)

    def finish(self) -> None:
        """Ends the datasets that wait for more."""
        for replay in self.replays.values():
            replay.finish()

    def expect(self, begun: bool) -> None:
        """Says whether the first replay is being filled."""
        for replay in self.replays.values():
            replay.expect(begun)

    def update_priorities(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """Sets the priorities of items; each replay knows its own keys.

        Args:
            keys: int64 `[M]`, from the `key` of batches.
            priorities: float `[M]`, see `Prioritized.update_priorities`.
        """
        keys = np.asarray(keys).astype(np.int64).ravel()
        for replay, salt in zip(self.replays.values(), self._salts, strict=True):
            if replay.priorities:
                replay.update_priorities(keys ^ salt, priorities)

    def close(self) -> None:
        """Closes every replay. Does nothing when they are closed."""
        for replay in self.replays.values():
            replay.close()
        self._spec = None

    def _part(self, replay: Replay, salt: np.int64, count: int, before: int) -> tf.data.Dataset:
        """The batches of one replay, with the columns that all of them have."""
        columns, weighted = tuple(self._spec or ()), self.priorities

        def chosen(batch: dict[str, Any]) -> dict[str, Any]:
            found = {column: batch[column] for column in columns}
            if weighted:
                key = batch.get("key", tf.fill((count,), tf.constant(-1, tf.int64)))
                weight = batch.get("weight", tf.ones((count,)))
                found |= {"key": tf.bitwise.bitwise_xor(key, salt), "weight": weight}
            return found

        if not replay.fixed:
            return replay.dataset(count).map(chosen)
        rows = replay.dataset().repeat().unbatch()  # type: ignore[call-arg]
        return rows.batch(count, drop_remainder=True).skip(before).map(chosen)


def _check(replays: Mapping[str, Replay], shares: Mapping[str, float]) -> None:
    if not isinstance(replays, Mapping) or not isinstance(shares, Mapping):
        raise ArgumentTypeError("a Mixture takes a dict of replays, and a dict of their shares.")
    if not replays or set(replays) != set(shares):
        raise ArgumentError(
            f"there must be a share for every replay; received replays {sorted(replays)} and "
            f"shares of {sorted(shares)}."
        )
    for name, replay in replays.items():
        if not isinstance(replay, Replay) or replay.consumed:
            raise ArgumentTypeError(
                f"the replays of a Mixture are sampled again and again, such as a Uniform; received"
                f" {name}={replay!r}."
            )
    values = [shares[name] for name in replays]
    if not all(share > 0 for share in values) or not math.isclose(sum(values), 1.0, rel_tol=1e-6):
        raise ArgumentError(f"shares must be positive, and add up to 1; received {dict(shares)}.")
    first = next(iter(replays))
    if replays[first].fixed:
        raise ArgumentError(
            f"what is collected goes into the first replay, and nothing can go into {first!r}, "
            f"which is a {type(replays[first]).__name__}. Name the one to collect into first."
        )


def _seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])


def _salt(number: int) -> np.int64:
    """What keys are told apart by: local replays count from 0, a server draws 64 bits."""
    return np.uint64(number * _SALT % 2**64).astype(np.int64)


def _batches_at_once(batch_size: int, shares: Mapping[str, float]) -> int:
    """The least number of batches of which every share is a whole number of items."""
    found = [
        fractions.Fraction(share * batch_size).limit_denominator(_MOST_BATCHES)
        for share in shares.values()
    ]
    together = math.lcm(*(fraction.denominator for fraction in found))
    exact = all(
        math.isclose(fraction, share * batch_size, rel_tol=1e-6) and fraction > 0
        for fraction, share in zip(found, shares.values(), strict=True)
    )
    if not exact or together > _MOST_BATCHES:
        raise ArgumentError(
            f"of {_MOST_BATCHES} batches of {batch_size}, or fewer, every share must be a whole "
            f"number of items; received shares={dict(shares)}. Round them, as to 1 / {batch_size}."
        )
    return together


def _spread(counts: list[int]) -> np.ndarray:
    """The order in which items of every replay are spread evenly over all, int `[sum(counts)]`."""
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    return np.argsort(places, kind="stable")
