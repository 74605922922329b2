"""Reading observations: any nest of arrays, checked and laid out as one array per leaf."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from kerasrl.envs.casting import misfits
from kerasrl.envs.spec import space_leaves
from kerasrl.errors import EnvError
from kerasrl.warning import warn


class ObservationReader:
    """Copies observations of one space into leaf arrays, one row per environment.

    The leaves stand in `tf.nest` order, so that `tf.nest.pack_sequence_as(spec, leaves)` gives the
    nested batch back.

    Args:
        space: `gymnasium.Space`, the space of a single observation.
    """

    def __init__(self, space: gym.Space):
        self._space = space
        self._leaves = [
            (path, tuple(leaf.shape or ()), np.dtype(leaf.dtype))
            for path, leaf in space_leaves(space, "observation")
        ]
        self._floats = [
            (i, np.isfinite if dtype.itemsize <= 4 else _is_finite_float32)
            for i, (_, _, dtype) in enumerate(self._leaves)
            if dtype.kind == "f"
        ]
        found = [_bounds(leaf) for _, leaf in space_leaves(space)]
        self._bounds = [(i, *bounds) for i, bounds in enumerate(found) if bounds]
        self._warned: set[str] = set()

    def empty(self, num_envs: int) -> list[np.ndarray]:
        """Allocates one `[num_envs, ...]` array per leaf."""
        return [np.empty((num_envs, *shape), dtype) for _, shape, dtype in self._leaves]

    def write(self, observation: Any, arrays: list[np.ndarray], row: int) -> None:
        """Writes one observation into row `row` of the leaf arrays.

        Raises:
            EnvError: when the structure or a shape is not the space's, or a dtype that cannot be
                cast to the space's. Integers of any dtype can whose values are of it.
        """
        values = self._values(self._space, observation, "observation")
        for (path, shape, dtype), array, value in zip(self._leaves, arrays, values, strict=True):
            value = np.asarray(value)
            if value.shape != shape:
                raise EnvError(f"{path} must have shape {shape}; received {value.shape}")
            array[row] = self._cast(path, value, dtype)

    def read_batch(self, observation: Any, num_envs: int) -> list[np.ndarray]:
        """Copies a batch of observations, as a `VectorEnv` gives them, into leaf arrays.

        Raises:
            EnvError: when the structure, a shape or a dtype is not the space's.
        """
        arrays = []
        values = self._values(self._space, observation, "observation")
        for (path, shape, dtype), value in zip(self._leaves, values, strict=True):
            value = np.asarray(value)
            if value.shape != (num_envs, *shape):
                raise EnvError(
                    f"{path} must have shape {(num_envs, *shape)}; received {value.shape}"
                )
            arrays.append(np.array(self._cast(path, value, dtype)))
        return arrays

    def non_finite(self, arrays: list[np.ndarray]) -> tuple[str, int, Any] | None:
        """Finds a number that is not finite as float32: the leaf's path, the row and the number."""
        for i, is_finite in self._floats:
            finite = is_finite(arrays[i])
            if np.count_nonzero(finite) < arrays[i].size:
                index = tuple(np.argwhere(~finite)[0])
                return self._leaves[i][0], int(index[0]), arrays[i][index]
        return None

    def zero_non_finite(self, arrays: list[np.ndarray]) -> None:
        """Puts 0 in the place of every number that is not finite as float32."""
        for i, is_finite in self._floats:
            arrays[i][~is_finite(arrays[i])] = 0

    def out_of_bounds(self, arrays: list[np.ndarray]) -> tuple[int, str] | None:
        """Finds a number that is not within the bounds of the space: the row, and a sentence."""
        for i, low, high in self._bounds:
            outside = (arrays[i] < low) | (arrays[i] > high)
            if np.count_nonzero(outside):
                index = tuple(int(k) for k in np.argwhere(outside)[0])
                place = index[1:]
                path = f"{self._leaves[i][0]}{list(place) or ''}"
                bounds = f"{low[place]} to {high[place]}"
                return index[0], f"{path} is {arrays[i][index]}, outside of its bounds, {bounds}"
        return None

    def _values(self, space: gym.Space, observation: Any, path: str) -> Iterator[Any]:
        if isinstance(space, gym.spaces.Dict):
            if not isinstance(observation, dict) or set(observation) != set(space.keys()):
                received = list(observation) if isinstance(observation, dict) else observation
                raise EnvError(
                    f"{path} must be a dict with keys {sorted(space)}; received {received!r}"
                )
            for key in sorted(space.keys()):
                yield from self._values(space[key], observation[key], f"{path}[{key!r}]")
        elif isinstance(space, gym.spaces.Tuple):
            if not isinstance(observation, tuple | list) or len(observation) != len(space):
                raise EnvError(f"{path} must be a tuple of {len(space)}; received {observation!r}")
            for i, child in enumerate(space):
                yield from self._values(child, observation[i], f"{path}[{i}]")
        else:
            yield observation

    def _cast(self, path: str, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
        if value.dtype == dtype:
            return value
        if dtype.kind in "iu" and value.dtype.kind in "iu":
            self._check_values(path, value, dtype)
        elif not np.can_cast(value.dtype, dtype, casting="same_kind"):
            raise EnvError(
                f"{path} must be {dtype}; received {value.dtype}, which loses more than precision "
                "when it is cast. Return the space's dtype, or declare a space of another"
            )
        if dtype.kind == "f" and path not in self._warned:
            self._warned.add(path)
            warn(f"{path} comes as {value.dtype} where its space says {dtype}; it is cast.")
        return value.astype(dtype)

    def _check_values(self, path: str, value: np.ndarray, dtype: np.dtype) -> None:
        """Raises `EnvError` unless integers are the same ones in another dtype."""
        unfit = misfits(value, dtype)
        if np.count_nonzero(unfit):
            index = tuple(int(k) for k in np.argwhere(unfit)[0])
            limits = np.iinfo(dtype)
            raise EnvError(
                f"{path}{list(index) or ''} must be {dtype}, {limits.min} to {limits.max}; "
                f"received {value[index]} of {value.dtype}. Return the space's dtype, or declare a "
                "space of another"
            )


def _is_finite_float32(array: np.ndarray) -> np.ndarray:
    return np.abs(array) <= np.finfo(np.float32).max


def _bounds(space: gym.Space) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the greatest value everywhere in a leaf; None if its dtype has no other."""
    if isinstance(space, gym.spaces.Box):
        low, high = space.low, space.high
        everything = np.iinfo(space.dtype) if space.dtype.kind in "iu" else None
        least, most = (everything.min, everything.max) if everything else (-np.inf, np.inf)
        return None if np.all(low == least) and np.all(high == most) else (low, high)
    if isinstance(space, gym.spaces.MultiBinary):
        return np.zeros(space.shape, space.dtype), np.ones(space.shape, space.dtype)
    leaf: Any = space
    start = np.asarray(leaf.start)
    return start, start + (leaf.n if isinstance(leaf, gym.spaces.Discrete) else leaf.nvec) - 1
