"""What an agent asks of the spaces it is given and of the networks it is handed."""

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl import saving
from kerasrl.compatibility import declare_input, dtype_of, inputs_of
from kerasrl.errors import NetworkError, SpaceError, UnsafeFileError
from kerasrl.networks import DiscreteValuedHead, accept_nests, all_layers


def check_action_space(agent: keras.Model, kind: type[gym.Space], others: str) -> None:
    """Raises `SpaceError` unless the agent's action space is a `kind`; `others` may serve it."""
    name, space = type(agent).__name__, agent.action_space
    if not isinstance(space, kind):
        raise SpaceError(
            f"{name} needs a {kind.__name__} action space; received {space}. Use {others}."
        )


def check_real(agent: keras.Model) -> None:
    """Raises `SpaceError` unless the agent's Box action space is of floats."""
    space = agent.action_space
    if space.dtype.kind != "f":
        raise SpaceError(
            f"{type(agent).__name__} acts with real numbers; received {space}. Use a float Box, "
            "and round within the environment."
        )


def check_bounded(agent: keras.Model) -> None:
    """Raises `SpaceError` unless the agent's Box action space is of floats and bounded."""
    check_real(agent)
    space = agent.action_space
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise SpaceError(
            f"{type(agent).__name__} squashes actions between the bounds of the action space, so "
            f"they must be finite; received {space} with low={space.low} and high={space.high}. "
            "Give the environment finite bounds, e.g. with gymnasium.wrappers.RescaleAction."
        )


def check_network(argument: str, network: keras.Model, inputs: Any, expected: tuple) -> None:
    """Calls a network on batches of zeros and checks what comes out.

    A `Sequential` without an `Input` takes the size of the first batch for that of all, until it
    has seen another.

    Args:
        argument: str, the constructor argument that the network came from.
        network: Keras model.
        inputs: nest of `tf.TensorSpec` without a batch dimension: one example of its input.
        expected: tuple of int or None, the output's shape with its batch dimension.

    Raises:
        NetworkError: when the call fails, the output has another shape, or what is learned is kept
            in less than float32.
    """
    accept_nests(network)
    one, two = _zeros(inputs, 1), _zeros(inputs, 2)
    shapes = tf.nest.map_structure(_described, one)
    rule = f"{argument} must map {shapes} to a float tensor of shape {list(expected)}"
    try:
        saving.check_call(network, one)
        declare_input(network, one)
        _check_count(network, one)
        network(one, training=False)
        output = network(two, training=False)
    except UnsafeFileError:
        raise
    except (ValueError, TypeError, KeyError, tf.errors.InvalidArgumentError) as error:
        raise NetworkError(f"{rule}; calling it failed with: {error}") from error
    if not _fits(output, expected):
        received = tf.nest.map_structure(_described, output)
        raise NetworkError(f"{rule}; received {received}.")
    _check_variables(argument, network)


def atoms_of(critic: keras.Model | None) -> tuple[float, float, int] | None:
    """The first atom of a critic's `DiscreteValuedHead`, the last, and their number; or None."""
    for head in _discrete_heads(critic):
        return head.minimum, head.maximum, head.num_atoms
    return None


def check_atoms(agent: keras.Model, critic: keras.Model, atoms: np.ndarray) -> None:
    """Raises `NetworkError` when the critic's own head has other atoms than the agent."""
    for head in _discrete_heads(critic):
        if head.atoms.shape != atoms.shape or not np.allclose(head.atoms, atoms):
            raise NetworkError(
                f"the critic's {head.name} has {len(head.atoms)} atoms from {head.atoms[0]} to "
                f"{head.atoms[-1]}, and the agent {agent.num_atoms} from {agent.v_min} to "
                f"{agent.v_max}. Leave v_min, v_max and num_atoms out to take those of the head, "
                "or make the head with the agent's."
            )


def _discrete_heads(critic: keras.Model | None) -> list[DiscreteValuedHead]:
    layers = [] if critic is None else all_layers(critic)
    return [layer for layer in layers if isinstance(layer, DiscreteValuedHead)]


def _check_variables(argument: str, network: keras.Model) -> None:
    dtypes = {dtype_of(variable) for variable in network.trainable_variables}
    if coarse := dtypes & {tf.float16, tf.bfloat16}:
        name = min(dtype.name for dtype in coarse)
        raise NetworkError(
            f"{argument} has variables of {name}, in which the small steps of learning are lost; "
            f'keep them in float32 with keras.mixed_precision.set_global_policy("mixed_{name}") '
            'and keras.backend.set_floatx("float32").'
        )


def _check_count(network: keras.Model, inputs: Any) -> None:
    """Raises ValueError if a graph of layers has another number of inputs; Keras 3 need not."""
    declared = inputs_of(network)
    given = len(tf.nest.flatten(inputs))
    if declared is not None and len(declared) != given:
        raise ValueError(f"it has {len(declared)} inputs, and is given {given}.")


def _zeros(inputs: Any, size: int) -> Any:
    return tf.nest.map_structure(lambda spec: tf.zeros((size, *spec.shape), spec.dtype), inputs)


def _fits(output: Any, expected: tuple) -> bool:
    return (
        tf.is_tensor(output)
        and output.dtype.is_floating
        and tf.TensorShape(expected).is_compatible_with(output.shape)
    )


def _described(tensor: tf.Tensor) -> str:
    return f"{tensor.dtype.name}{[None, *tensor.shape[1:]]}"
