"""Writing a policy for use without its agent."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from kerasrl.compatibility import interpreter
from kerasrl.envs import EnvSpec, random_actions
from kerasrl.envs.spec import space_leaves
from kerasrl.errors import ArgumentError, NetworkError
from kerasrl.export.input_names import input_names, state_names
from kerasrl.export.manifest import EXPORT_FORMATS, are_results, has_info, write_info
from kerasrl.native_log import muted
from kerasrl.saving import replacing_directory
from kerasrl.version import __version__

_PYTHON_OPS = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}
_TOLERANCE = 1e-3


def export_policy(
    directory: str | os.PathLike[str],
    functions: dict[str, Callable[..., Any]],
    spec: EnvSpec,
    info: dict[str, Any],
    format: str = "saved_model",
    state: Any = None,
) -> None:
    """Writes a policy; see `Agent.export_policy`.

    Args:
        directory: str or path; an earlier export there is replaced when the new one is whole.
        functions: dict of callables from a nest of observations `[B, ...]` to actions `[B, ...]`:
            `act`, and perhaps `sample`. With a `state` they take a nest of states `[B, ...]`, too,
            and return the actions and the next states.
        spec: `EnvSpec` of the spaces.
        info: dict with the `agent`'s name, its `env_steps` and `gradient_steps`, and the `results`
            of an evaluation, or None.
        format: "saved_model" or "tflite".
        state: nest of tuples of arrays, the recurrent state that an episode of one environment
            begins with; None without one.

    Raises:
        ArgumentError: when the directory is taken by something else, or an argument cannot work.
        NetworkError: when the policy needs what the format does not have.
        SaveError: when it cannot be written; what was there before is as it was.
    """
    path = Path(os.path.realpath(directory))
    _check_arguments(path, format, info["results"])
    states = [] if state is None else [np.asarray(leaf) for leaf in tf.nest.flatten(state)]
    arguments = _Arguments(spec, state)
    module, signatures = _traced(functions, spec, arguments)
    with replacing_directory(path) as partial:
        if format == "tflite":
            model = _converted(module, signatures, partial / "saved_model")
            _check_converted(model, signatures, spec, states)
            (partial / "policy.tflite").write_bytes(model)
        else:
            # TensorFlow Serving calls the signature of this name unless it is asked for another.
            default = {"serving_default": signatures["act"]}
            _save(module, signatures | default, partial)
        versions = {
            "kerasrl": __version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        }
        described = {"format": format, **info, "versions": versions, "signatures": list(signatures)}
        write_info(partial, spec, described, states)


def _check_arguments(path: Path, format: str, results: Any) -> None:
    if format not in EXPORT_FORMATS:
        raise ArgumentError(
            f"format must be one of {', '.join(EXPORT_FORMATS)}; received {format!r}."
        )
    if results is not None and not are_results(results):
        raise ArgumentError(
            "results must be a dict of finite numbers, such as evaluate(env, return_dict=True) "
            f"gives, or None; received {results!r}."
        )
    if path.exists() and not path.is_dir():
        raise ArgumentError(f"a policy is exported to a directory; {path} is a file.")
    if path.exists() and any(path.iterdir()) and not has_info(path):
        raise ArgumentError(
            f"a policy is exported to a directory of its own; {path} holds something else, which "
            "would be lost. Name a new directory."
        )


class _Arguments:
    """What the functions of a policy are given: nests, or named leaves."""

    def __init__(self, spec: EnvSpec, state: Any):
        self.observation = _batched(spec.observation)
        self.nests = [self.observation]
        names = input_names(spec.observation_space)
        self.state_names: list[str] = []
        if state is not None:
            self.nests.append(_batched(tf.nest.map_structure(_spec_of, state)))
            self.state_names = state_names(len(tf.nest.flatten(state)))
        leaves = tf.nest.flatten(self.nests)
        self.named = {
            name: tf.TensorSpec(leaf.shape, leaf.dtype, name)
            for name, leaf in zip([*names, *self.state_names], leaves, strict=True)
        }

    def packed(self, inputs: dict[str, tf.Tensor]) -> list[Any]:
        """The nests of which `inputs` are the named leaves."""
        return tf.nest.pack_sequence_as(self.nests, [inputs[name] for name in self.named])


def _spec_of(leaf: Any) -> tf.TensorSpec:
    return tf.TensorSpec(np.shape(leaf), np.asarray(leaf).dtype)


def _batched(nest: Any) -> Any:
    return tf.nest.map_structure(lambda leaf: tf.TensorSpec((None, *leaf.shape), leaf.dtype), nest)


def _traced(
    functions: dict[str, Callable], spec: EnvSpec, arguments: _Arguments
) -> tuple[tf.Module, dict[str, Any]]:
    """Makes a module with the functions for nests, and signatures of them for named leaves."""
    module, signatures = tf.Module(), {}
    variables: dict[int, tf.Variable] = {}
    for name, function in functions.items():
        traced = _trace(function, arguments, spec.action)
        _check_portable(traced)
        setattr(module, name, traced)
        signatures[name] = _signature(traced, arguments)
        variables |= {id(v): v for v in traced.get_concrete_function().variables}
    module.weights = list(variables.values())
    return module, signatures


def _trace(function: Callable[..., Any], arguments: _Arguments, action: tf.TensorSpec) -> Any:
    def trace(seed: int | None) -> Any:
        def act(observation: Any, *state: Any) -> Any:
            # That of the process would have every load of the policy draw the same.
            tf.random.set_seed(seed)
            if not state:
                return tf.cast(function(observation), action.dtype)
            chosen, following = function(observation, *state)
            return tf.cast(chosen, action.dtype), following

        traced = tf.function(act, input_signature=arguments.nests)
        traced.get_concrete_function()
        return traced

    try:
        return trace(None)
    except RuntimeError:  # Where operations are deterministic, there has to be one.
        return trace(int.from_bytes(os.urandom(4), "big"))


def _signature(traced: Any, arguments: _Arguments) -> Any:
    def act(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        result = tf.nest.flatten(traced(*arguments.packed(inputs)))
        return dict(zip(["action", *arguments.state_names], result, strict=True))

    return tf.function(act).get_concrete_function(**arguments.named)


def _check_portable(traced: Any) -> None:
    definition = traced.get_concrete_function().graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    if any(node.op in _PYTHON_OPS for node in nodes):
        raise NetworkError(
            "a network that calls Python, by tf.py_function or tf.numpy_function, cannot be "
            "exported, for nobody else would have that function. Write it in TensorFlow."
        )


def _save(module: tf.Module, signatures: dict[str, Any], directory: Path) -> None:
    try:
        tf.saved_model.save(module, str(directory), signatures)
    except AssertionError as error:  # So TensorFlow says that it has found more than variables.
        raise NetworkError(
            "a network can be exported that keeps nothing but variables, and no lookup tables or "
            f"datasets: {str(error).strip().splitlines()[0]}"
        ) from error


def _converted(module: tf.Module, signatures: dict[str, Any], scratch: Path) -> bytes:
    _save(module, signatures, scratch)
    try:
        with muted():
            converter = tf.lite.TFLiteConverter.from_saved_model(
                str(scratch), signature_keys=list(signatures)
            )
            return converter.convert()
    except Exception as error:  # The converter raises whatever it likes.
        missing = re.search(r"(?:Select|Custom) ops: (.+)", str(error))
        reason = (
            f"it has no {missing[1]} for these dtypes"
            if missing
            else str(error).strip().splitlines()[0]
        )
        raise NetworkError(
            f"this policy does not convert to TensorFlow Lite's own operations: {reason}. Change "
            'the network, or export it with format="saved_model".'
        ) from error
    finally:
        shutil.rmtree(scratch)


def _check_converted(
    model: bytes, signatures: dict[str, Any], spec: EnvSpec, states: list[np.ndarray]
) -> None:
    """Raises `NetworkError` unless a converted policy acts as it did."""
    rng = np.random.default_rng(0)
    leaves = [leaf for _, leaf in space_leaves(spec.observation_space)]
    values = [_observations(leaf, 16, rng) for leaf in leaves]
    values += [np.repeat(state[np.newaxis], 16, axis=0) for state in states]
    names = [*input_names(spec.observation_space), *state_names(len(states))]
    inputs = dict(zip(names, values, strict=True))
    expected = signatures["act"](**{name: tf.constant(x) for name, x in inputs.items()})
    with muted():
        run = interpreter(model_content=model).get_signature_runner("act")
        received = run(**inputs)
    if not all(_close(received[name], expected[name].numpy()) for name in expected):
        raise NetworkError(
            "TensorFlow Lite computes other actions than TensorFlow for this policy. Export it "
            'with format="saved_model".'
        )


def _close(received: np.ndarray, expected: np.ndarray) -> bool:
    scale = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    return np.allclose(received, expected, _TOLERANCE, _TOLERANCE * scale, equal_nan=True)


def _observations(space: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws observations, none of them very large."""
    if not isinstance(space, gym.spaces.Box):
        return random_actions(space, count, rng)
    shape = (count, *space.shape)
    real = space.dtype.kind == "f"
    drawn = rng.standard_normal(shape) if real else rng.integers(0, 256, shape)
    return np.clip(drawn, space.low, space.high).astype(space.dtype)
