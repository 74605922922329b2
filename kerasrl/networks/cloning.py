"""Copies of networks."""

import collections
import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasrl.compatibility import inputs_of, specs_of_inputs
from kerasrl.errors import NetworkError
from kerasrl.networks.pairing import Pairing, all_layers
from kerasrl.private import rename

_TOLERANCE = 1e-3
_SIZE = 2  # Of dimensions that may be of any size.


def clone(source: keras.Model, same_weights: bool = True) -> keras.Model:
    """Makes a network of the same layers, frozen and shared as the source's are.

    Args:
        source: Keras model that has been called or built.
        same_weights: bool, whether it starts with the source's weights or with fresh ones; what is
            not trained, such as the weights of frozen layers and running statistics, it always has
            from the source.

    Raises:
        NetworkError: when the model does not say how to make it again, or when what it makes is not
            the same network.
    """
    return paired_clone(source, same_weights)[0]


def paired_clone(source: keras.Model, same_weights: bool = True) -> tuple[keras.Model, Pairing]:
    """Does what `clone` does, and says which variables correspond to which."""
    try:
        with keras.saving.custom_object_scope(_classes_of(source)), _policy_of(source):
            copy = _made_again(source, {})
    except (NotImplementedError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise _refusal(
            source,
            f"{_gist(error)} Build it with the Functional or Sequential API, or give its class a "
            "get_config()",
        ) from error
    pairing = paired(source, copy)
    if not same_weights and (parted := pairing.parted()):
        raise _refusal(
            source,
            f"its copy has {', '.join(parted)} more than once. Use a layer that is in two places "
            "in layers of a functional model, rather than in arguments of two layers",
        )
    _freeze_alike(pairing)
    _check_outputs(pairing, copy)
    trained = set() if same_weights else {id(weight) for weight in source.trainable_weights}
    for variable, original in pairing.variables:
        if id(original) not in trained:
            variable.assign(original)
    pairing.finalize()
    return copy, pairing


def paired(source: keras.Model, copy: keras.Model) -> Pairing:
    """Finds which variables of a copy correspond to which of its source.

    Raises:
        NetworkError: when one of them has no counterpart of its shape and dtype.
    """
    pairing = Pairing(source, copy)
    if unmatched := pairing.unmatched(copy):
        raise _refusal(
            source,
            f"nothing in the copy corresponds to {'; '.join(unmatched)}. Let every class make the "
            "same layers and variables from the same get_config(), and keep them in attributes, or "
            "in lists or dicts that are attributes",
        )
    return pairing


def accept_nests(network: keras.Model) -> None:
    """Lets a functional model take its inputs in nests of any depth, such as a Dict in a Dict.

    It takes them as they are flattened. Keras checks them beforehand against a list that it makes
    of the outermost level, and fails when that has nests in it and is as long as there are inputs.
    """
    inputs: Any = inputs_of(network) and getattr(network, "input", None)
    if not isinstance(inputs, dict | list | tuple):
        return
    children = inputs.values() if isinstance(inputs, dict) else inputs
    if any(tf.nest.is_nested(child) for child in children):
        network.input_spec = None


def twin(critic: keras.Model, inputs: list[Any]) -> keras.Model:
    """Makes a network of two critics that share nothing but their inputs.

    Args:
        critic: Keras model from `inputs` to `[B, 1]`; it becomes the first of the two, and a clone
            with weights of its own the second.
        inputs: nest of Keras tensors.

    Returns:
        Keras model from `inputs` to `[B, 2]`.

    Raises:
        NetworkError: when the critic cannot be cloned, or its clone starts with the same weights.

    Reference:
        Fujimoto et al., "Addressing function approximation error in actor-critic methods", 2018.
    """
    second = clone(critic, same_weights=False)
    if _same_random_weights(critic, second):  # As under the seed that the first was made under.
        second = clone(critic, same_weights=False)
    if _same_random_weights(critic, second):
        raise NetworkError(
            f"the twin of {critic.name} starts with the very same weights, so that two are no "
            "better than one. Leave the seed= out of its initializers."
        )
    rename(second, f"{critic.name}_twin")
    values = keras.layers.Concatenate()([critic(inputs), second(inputs)])
    return keras.Model(inputs, values, name=f"twin_{critic.name}")


def _same_random_weights(one: keras.Model, other: keras.Model) -> bool:
    first, second = ([w.numpy() for w in model.trainable_weights] for model in (one, other))
    varied = any(np.ptp(weight) > 0 for weight in first if weight.size)
    return varied and all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def _made_again(source: keras.Model, made: dict[int, keras.layers.Layer]) -> keras.Model:
    """Makes a model again; `made` has the layers that are already, by the id of their source."""

    def again(layer: keras.layers.Layer) -> keras.layers.Layer:
        if id(layer) not in made:
            with _policy_of(layer):
                if isinstance(layer, keras.Model):
                    made[id(layer)] = _made_again(layer, made)
                elif isinstance(layer, keras.layers.Lambda):
                    made[id(layer)] = layer  # It has no weights, and its function no safe config.
                else:
                    made[id(layer)] = type(layer).from_config(layer.get_config())
        return made[id(layer)]

    has_graph = inputs_of(source) is not None
    copy = keras.models.clone_model(source, clone_function=again if has_graph else None)
    accept_nests(copy)
    if not all(layer.built for layer in all_layers(copy)):  # Keras 3 may leave some for later.
        copy(*tf.nest.map_structure(_zeros, specs_of_inputs(source)))
    return copy


def _classes_of(source: keras.Model) -> dict[str, type]:
    """The layers' classes by their names, which wrappers such as `TimeDistributed` look for."""
    classes = {type(layer) for layer in all_layers(source)}
    counts = collections.Counter(kind.__name__ for kind in classes)
    return {kind.__name__: kind for kind in classes if counts[kind.__name__] == 1}


@contextlib.contextmanager
def _policy_of(layer: keras.layers.Layer) -> Iterator[None]:
    """Has what a layer makes within itself be of the policy that it was made under."""
    before = keras.mixed_precision.global_policy()
    policy = getattr(layer, "dtype_policy", before)  # Operations of Keras 3 have none.
    if policy.name == before.name:
        yield
        return
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _freeze_alike(pairing: Pairing) -> None:
    """Freezes in the copy what is frozen in the source, which no config says of inner layers."""
    for _ in pairing.layers:  # Freezing a layer freezes those within it, which then come next.
        differing = [pair for pair in pairing.layers if pair[0].trainable != pair[1].trainable]
        if not differing:
            return
        for copy, source in differing:
            copy.trainable = source.trainable


def _check_outputs(pairing: Pairing, copy: keras.Model) -> None:
    """Compares outputs with weights that are other ones everywhere, so that a mix-up would show.

    Raises:
        NetworkError: when the copy puts out something else than its source.
    """
    source = pairing.source
    inputs = tf.nest.map_structure(_drawn(np.random.default_rng(0)), specs_of_inputs(source))
    with _other_weights(pairing):
        try:
            expected, again = (_outputs(source, inputs) for _ in range(2))
        except Exception:  # Numbers drawn at random need be no input; whatever it raises.
            return
        if not _close(expected, again):
            return  # It draws random numbers itself.
        received = _outputs(copy, inputs)
    if not _close(expected, received):
        raise _refusal(
            source,
            "with the same weights its copy puts out something else. Let every class's "
            "get_config() tell all that its outputs depend on",
        )


def _outputs(network: keras.Model, inputs: Any) -> list[np.ndarray]:
    outputs = tf.nest.flatten(network(*inputs, training=False))
    return [tf.cast(output, tf.float32).numpy() for output in outputs]


def _close(ones: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(ones) == len(others) and all(
        one.shape == other.shape
        and np.allclose(one, other, _TOLERANCE, _TOLERANCE * _size_of(one), equal_nan=True)
        for one, other in zip(ones, others, strict=True)
    )


def _size_of(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0))


@contextlib.contextmanager
def _other_weights(pairing: Pairing) -> Iterator[None]:
    """Gives a copy and its source the same other weights, close to the source's, for a while."""
    rng = np.random.default_rng(0)
    before = [(variable, variable.numpy()) for pair in pairing.variables for variable in pair]
    values = {id(source): _moved(source.numpy(), rng) for _, source in pairing.variables}
    try:
        for copy, source in pairing.variables:
            source.assign(values[id(source)])
            copy.assign(values[id(source)])
        pairing.finalize()
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
        pairing.finalize()


def _moved(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
        return value
    noise = rng.uniform(0.0, 0.1, value.shape)
    if np.any(value < 0):  # Others, such as variances, may have to stay positive.
        noise = noise - 0.05
    return (value + noise).astype(value.dtype)


def _gist(error: Exception) -> str:
    """The first paragraph of what Keras says, in one line."""
    text = " ".join(str(error).strip().partition("\n\n")[0].split())
    return text if text.endswith(".") else f"{text}."


def _refusal(source: keras.Model, reason: str) -> NetworkError:
    return NetworkError(
        f"{source.name} must be copied, for a target or a twin, and cannot be: {reason}."
    )


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)


def _drawn(rng: np.random.Generator) -> Any:
    """A function from specs to tensors of random numbers."""

    def draw(spec: tf.TensorSpec) -> tf.Tensor:
        shape = [_SIZE if size is None else size for size in spec.shape]
        if spec.dtype.is_floating:
            return tf.cast(rng.normal(size=shape), spec.dtype)
        return tf.cast(rng.integers(0, 2, shape), spec.dtype)

    return draw
