"""Which parts of a copy of a network correspond to which of its source."""

import collections
import functools
from typing import Any

import keras
import tensorflow as tf

from kerasrl.compatibility import VARIABLES, dtype_of, finalize, name_of
from kerasrl.private import made_to_be_trained

_MODULES = (tf.Module, keras.layers.Layer)


class Pairing:
    """The parts of a copy and of its source that stand in the same place.

    Both are gone through side by side, by the names of attributes, the indices of lists and the
    keys of dicts, and the names of layers in a functional model; what none of them leads to, in the
    order in which it was made. The order of `weights` plays no part: it depends on what is frozen.

    Args:
        source: Keras layer or model, built.
        copy: another one of the same structure.

    Attributes:
        source: as given.
        variables: list of (variable of the copy, variable of the source); a variable that the copy
            has twice has two.
        layers: list of (layer of the copy, layer of the source).
        weights: those of `variables` that are among the weights of the copy: `learned` and
            `statistics` together.
        learned: those that were made to be trained, those of frozen layers among them.
        statistics: the others, such as the running means of a normaliser.
    """

    def __init__(self, source: keras.layers.Layer, copy: keras.layers.Layer):
        self.source = source
        self.variables: list[tuple[tf.Variable, tf.Variable]] = []
        self.layers: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self._seen: set[int] = set()
        self._sources: set[int] = set()
        self._kept: list[Any] = []  # An id is one object's only as long as that exists.
        self._go_through(source, copy)
        self.weights = self._weights_of(copy)
        learned = {id(variable) for variable in made_to_be_trained(s for _, s in self.layers)}
        self.learned = [pair for pair in self.weights if id(pair[1]) in learned]
        self.statistics = [pair for pair in self.weights if id(pair[1]) not in learned]

    def _go_through(self, source: Any, copy: Any) -> None:
        named: list[tuple[Any, Any]] = [(source, copy)]
        ordered: list[tuple[Any, Any]] = []
        while named or ordered:
            is_named = bool(named)
            source, copy = (named or ordered).pop(0)
            taken = id(copy) in self._seen or (not is_named and id(source) in self._sources)
            if taken or not _alike(source, copy):
                continue
            self._seen.add(id(copy))
            self._sources.add(id(source))
            self._kept.append((source, copy))
            if isinstance(source, VARIABLES):
                self.variables.append((copy, source))
                continue
            if isinstance(source, keras.layers.Layer):
                self.layers.append((copy, source))
            by_name, by_order = _children(source, copy)
            named += by_name
            ordered += by_order

    def _weights_of(self, copy: keras.layers.Layer) -> list[tuple[tf.Variable, tf.Variable]]:
        wanted = {id(variable) for variable in copy.weights}
        return [pair for pair in self.variables if id(pair[0]) in wanted]

    def finalize(self) -> None:
        """Has layers with constants made of weights, as `Normalization` has, make them anew."""
        for pair in self.layers:
            for layer in pair:
                finalize(layer)

    def unmatched(self, copy: keras.layers.Layer) -> list[str]:
        """Describes the weights of the source, and of the copy, that have no counterpart."""
        copies, sources = ({id(pair[i]) for pair in self.weights} for i in (0, 1))
        lost = [w for w in self.source.weights if id(w) not in sources]
        lost += [w for w in copy.weights if id(w) not in copies]
        return sorted({f"{name_of(w)}, {dtype_of(w).name}{list(w.shape)}" for w in lost})

    def parted(self) -> list[str]:
        """Names the weights of the source of which the copy has more than one."""
        counts = collections.Counter(id(source) for _, source in self.weights)
        return sorted({name_of(w) for _, w in self.weights if counts[id(w)] > 1})


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer or network, and all layers within it, each of them once.

    `submodules` and `weights` have Keras walk through everything that a layer keeps, which some of
    its recurrent layers do not bear.
    """
    waiting: list[Any] = [layer]
    seen, kept, found = set(), [], []
    while waiting:
        part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        kept.append(part)  # An id is one object's only as long as that exists.
        if isinstance(part, keras.layers.Layer):
            found.append(part)
        if not isinstance(part, VARIABLES):
            waiting += [child for child in _entries(part).values() if _is_part(child)]
    return found


def frozen(layer: keras.layers.Layer) -> list[list[str | int]]:
    """Where, within a layer, layers are that are frozen: names, indices and keys on the way."""
    waiting: list[tuple[Any, list[str | int]]] = [(layer, [])]
    seen, found = set(), []
    while waiting:
        part, path = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, keras.layers.Layer) and not part.trainable:
            found.append(path)
            continue  # All within it is.
        waiting += [
            (child, [*path, key])
            for key, child in _reachable(part).items()
            if isinstance(key, str | int) and isinstance(child, (*_MODULES, list, tuple, dict))
        ]
    return found


def freeze(layer: keras.layers.Layer, paths: list[list[str | int]]) -> None:
    """Freezes what `frozen` has found in a layer of the same structure.

    Raises:
        LookupError: when there is no layer in a place.
    """
    for path in paths:
        part: Any = layer
        for key in path:
            part = _reachable(part)[key]
        if not isinstance(part, keras.layers.Layer):
            raise LookupError(f"there is no layer at {path}")
        part.trainable = False


def _reachable(part: Any) -> dict[Any, Any]:
    """What is within a part by names that are the same in another of its structure."""
    entries = _entries(part) if _is_part(part) else {}
    if not isinstance(part, keras.layers.Layer):
        return entries
    named = {key: value for key, value in entries.items() if key not in _of_keras()}
    if isinstance(part, keras.Model):
        named["layers"] = part.layers
    return named


def _is_part(value: Any) -> bool:
    return isinstance(value, (*_MODULES, *VARIABLES, list, tuple, dict))


def _alike(source: Any, copy: Any) -> bool:
    if isinstance(source, VARIABLES):
        same = isinstance(copy, VARIABLES) and dtype_of(source) == dtype_of(copy)
        return same and tuple(source.shape) == tuple(copy.shape)  # type: ignore[attr-defined]
    if isinstance(source, _MODULES):
        return isinstance(copy, _MODULES)
    return _is_part(source) and _is_part(copy)


def _entries(part: Any) -> dict[Any, Any]:
    """What a container or a module holds, by name, index or key."""
    if isinstance(part, dict):
        return dict(part)
    if isinstance(part, list | tuple):
        return dict(enumerate(part))
    return dict(vars(part))


def _children(source: Any, copy: Any) -> tuple[list[tuple], list[tuple]]:
    """Pairs of what stands in the same place within two parts, by name and by order."""
    ours, theirs = _entries(source), _entries(copy)
    common = [key for key, value in ours.items() if key in theirs and _is_part(value)]
    by_name = [(ours[key], theirs[key]) for key in common]
    if not isinstance(source, keras.layers.Layer):
        return by_name, []
    by_order = [(ours[key], theirs[key]) for key in common if key in _of_keras()]
    by_name = [(ours[key], theirs[key]) for key in common if key not in _of_keras()]
    if isinstance(source, keras.Model) and isinstance(copy, keras.Model):
        one, other = ({layer.name: layer for layer in model.layers} for model in (source, copy))
        if set(one) == set(other) and len(one) == len(source.layers) == len(copy.layers):
            by_name += [(one[name], other[name]) for name in one]
        by_order = [*zip(source.layers, copy.layers, strict=False), *by_order]
    return by_name, by_order


@functools.cache
def _of_keras() -> set[str]:
    """The attributes that Keras has in every layer and model.

    Its lists are in the order in which things were made, which may be another in a copy, so that
    they count for less than the names that things have.
    """
    inputs = keras.Input((1,), name="inputs")
    outputs = keras.layers.Flatten(name="layer")(inputs)  # Some Kerases want something between.
    functional = keras.Model(inputs, outputs, name="functional")
    sequential = keras.Sequential(name="sequential")
    return set().union(*map(vars, (keras.layers.Layer(name="layer"), sequential, functional)))
